"""A built project, and its bill of materials."""

from __future__ import annotations

import pytest

from prov.sbom.bill import Bill
from tests.history.tiny import Tiny
from tests.sbom.project import bill_of, build_project


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """A project built once. Tests must not change it."""
    return build_project(tmp_path_factory.mktemp("sbom"))


@pytest.fixture(scope="session")
def bill(tiny: Tiny) -> Bill:
    return bill_of(tiny)
