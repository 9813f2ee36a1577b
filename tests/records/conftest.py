"""Fixtures for tests of records."""

from __future__ import annotations

import pytest

from prov.store.odb import ObjectWriter
from prov.store.repository import Store


@pytest.fixture
def writer(store: Store) -> ObjectWriter:
    """A writer that stores objects in memory."""
    return store.objects.writer(memory=True)
