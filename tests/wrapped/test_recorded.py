"""Tests of reading recorded runs of commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from prov.errors import StoreError
from prov.history.names import find_run
from prov.records.keys import TaskKey
from prov.store.repository import Store
from prov.wrapped.recorded import is_command, recorded_command, recorded_step
from prov.wrapped.run import capture_as, run_as
from prov.wrapped.step import CommandStep
from tests.sharing.samples import record_run

KEY = TaskKey("app:compile")


@pytest.mark.process
def test_the_words_of_a_command(store: Store, tmp_path: Path) -> None:
    words = ["sh", "-c", "true 'a b'", "\udcff\n"]
    step = CommandStep.parse(KEY, outputs=["."], exclude=["*.o", "a b"])
    ran = run_as(store, tmp_path, step, words, {"PATH": "/bin"}, lambda _chunk: None)
    run = find_run(store, ran.tag)
    assert is_command(store, run.commit)
    assert recorded_command(store, run.commit) == words


@pytest.mark.process
def test_a_capture_has_no_words(store: Store, tmp_path: Path) -> None:
    ran = capture_as(store, tmp_path, CommandStep.parse(KEY))
    assert is_command(store, ran.commit)
    assert recorded_command(store, ran.commit) == []


def test_a_task_of_a_recipe_is_no_command(store: Store) -> None:
    _, ids = record_run(store)
    assert not is_command(store, ids.commit)


@pytest.mark.parametrize("gitignore", [True, False])
def test_how_a_run_was_recorded(gitignore: bool) -> None:
    facts = {"outputdir": "'a b' c", "exclude": "*.o"} | ({"gitignore": "yes"} if gitignore else {})
    expected = CommandStep.parse(KEY, outputs=["a b", "c"], exclude=["*.o"], gitignore=gitignore)
    assert recorded_step(KEY, facts) == expected


@pytest.mark.parametrize("facts", [{"outputdir": "'"}, {"exclude": '"'}])
def test_invalid_facts_are_refused(facts: dict[str, str]) -> None:
    with pytest.raises(StoreError, match="invalid record of app:compile"):
        recorded_step(KEY, facts)
