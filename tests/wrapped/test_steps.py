"""Tests of repeating the steps of a recorded build."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from prov.errors import ProvError
from prov.records.build_list import BuildList
from prov.records.keys import TaskKey
from prov.records.lookup import Records
from prov.records.refs import DIRECTORIES
from prov.store.repository import Store
from prov.wrapped.run import capture_as, run_as
from prov.wrapped.step import CommandStep
from prov.wrapped.steps import RecordedStep, Repeater, recorded_steps

pytestmark = pytest.mark.process

ENVIRONMENT = {"PATH": "/usr/bin:/bin"}


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A directory with a source."""
    top = tmp_path / "top"
    (top / "below").mkdir(parents=True)
    (top / "below/source").write_text("1\n")
    return top


@pytest.fixture
def build(store: Store, top: Path) -> BuildList:
    """A build of a capture and two steps, which run in different folders."""
    capture_as(store, top, CommandStep.parse("app:tree", build="one"))
    steps = {"app:z": ("below", "cp source made"), "app:a": (".", "cat below/made >program")}
    commit = None
    for name, (folder, script) in steps.items():
        step = CommandStep.parse(name, build="one", exclude=["*.log"])
        ran = run_as(store, top / folder, step, ["sh", "-c", script], ENVIRONMENT, lambda _: None)
        commit = ran.build
    assert commit is not None
    return BuildList(store, commit)


def as_it_is(command: Sequence[str], _folder: Path) -> Sequence[str]:
    return command


def repeat(store: Store, copy: Path, steps: Sequence[RecordedStep]) -> tuple[bool, list[str]]:
    """Repeat steps in a copy; return whether all succeeded, and which ran."""
    ran: list[str] = []
    repeater = Repeater(store, copy, as_it_is, ENVIRONMENT, {"workdir": "/recorded"})

    def note(key: TaskKey, _code: int) -> None:
        ran.append(key)

    succeeded = repeater.repeat(steps, note)
    repeater.forget(steps)
    return succeeded, ran


def fresh(top: Path, name: str, source: str) -> Path:
    """Make a copy of a directory with another source and without results."""
    copy = top.with_name(name)
    (copy / "below").mkdir(parents=True)
    (copy / "below/source").write_text(source)
    return copy


def test_steps_are_in_the_order_in_which_they_ran(build: BuildList, top: Path) -> None:
    steps = recorded_steps(build, top)
    assert [(step.step.key, str(step.folder)) for step in steps] == [
        ("app:z", "below"),
        ("app:a", "."),
    ]
    assert steps[0].command == ("sh", "-c", "cp source made")
    assert steps[0].environment == ENVIRONMENT
    assert steps[0].step.exclude == ()  # a copy is recorded completely


def test_a_step_with_known_inputs_does_not_run(store: Store, build: BuildList, top: Path) -> None:
    steps = recorded_steps(build, top)
    states = store.refs.list(DIRECTORIES)
    first = fresh(top, "first", "2\n")
    assert repeat(store, first, steps) == (True, ["app:z", "app:a"])
    second = fresh(top, "second", "2\n")
    (second / ".git").mkdir()
    assert repeat(store, second, steps) == (True, [])
    assert (second / "program").read_text() == "2\n"
    assert (second / ".git").is_dir()
    assert store.refs.list(DIRECTORIES) == states


def test_runs_are_marked_as_trials(store: Store, build: BuildList, top: Path) -> None:
    repeat(store, fresh(top, "first", "2\n"), recorded_steps(build, top))
    tags = store.refs.list("refs/tags/app/a/")
    facts = [Records(store).facts(commit) for commit in tags.values()]
    trials = [each for each in facts if each.get("aside") == "bisect"]
    assert [each["workdir"] for each in trials] == ["/recorded"]


def test_a_failed_step_ends_the_repetition_and_is_remembered(store: Store, top: Path) -> None:
    step = CommandStep.parse("app:check", build="two")
    command = ["sh", "-c", "grep -q 1 below/source"]
    ran = run_as(store, top, step, command, ENVIRONMENT, lambda _: None)
    steps = recorded_steps(BuildList(store, ran.build), top)
    assert repeat(store, fresh(top, "first", "2\n"), [*steps, *steps]) == (False, ["app:check"])
    assert repeat(store, fresh(top, "second", "2\n"), steps) == (False, [])
    shutil.rmtree(top.with_name("second") / "below")
    assert repeat(store, top.with_name("second"), steps) == (False, ["app:check"])


def test_a_folder_that_a_commit_lacks(store: Store, build: BuildList, top: Path) -> None:
    copy = top.with_name("first")
    copy.mkdir()
    assert repeat(store, copy, recorded_steps(build, top)) == (False, [])


def test_a_build_of_captures_has_no_steps(store: Store, top: Path) -> None:
    captured = capture_as(store, top, CommandStep.parse("app:tree"))
    with pytest.raises(ProvError, match="has no step to repeat"):
        recorded_steps(BuildList(store, captured.build), top)
