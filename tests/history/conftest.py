"""Fixtures shared by the tests of history."""

from __future__ import annotations

import pytest

from prov.store.odb import ObjectWriter
from prov.store.repository import Store
from tests.history.recorded import Recorder


@pytest.fixture
def recorder(store: Store) -> Recorder:
    """A writer of runs and builds with its own store."""
    return Recorder(store)


@pytest.fixture
def writer(store: Store) -> ObjectWriter:
    """A writer that keeps objects in memory and can read them."""
    return store.objects.writer(memory=True)


@pytest.fixture(scope="session")
def store_of_properties(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """One store for all examples of property tests, which write in memory."""
    return Store.create(tmp_path_factory.mktemp("properties") / "store.git")
