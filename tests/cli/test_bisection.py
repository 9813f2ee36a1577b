"""One bisection at a time in a store."""

from __future__ import annotations

import pytest
from prov_cli.bisection import alone, new_log, recorded_log

from prov.errors import ProvError
from prov.store.repository import Store


def test_a_second_bisection_is_refused(store: Store) -> None:
    log = new_log(store)
    log.path.write_text("")
    with pytest.raises(ProvError, match="a bisection is in progress"):
        new_log(store)
    assert recorded_log(store).path == log.path


def test_another_process_is_refused(store: Store) -> None:
    with alone(store), pytest.raises(ProvError, match="another process is bisecting"), alone(store):
        pass
    with alone(store):
        pass
