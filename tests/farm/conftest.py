"""Fixtures: a farm of two workers for the tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.farm.machines import Machines, machines


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    with machines(tmp_path_factory.mktemp("farm") / "home", "w1", "w2") as farm:
        yield farm
