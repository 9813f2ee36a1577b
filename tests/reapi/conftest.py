"""Fixtures: a server for the tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.reapi.server import Server, serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("server") / "home") as server:
        yield server
