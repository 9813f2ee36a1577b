"""Tests that incremental builds equal clean ones and run no task with unchanged inputs."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prov.files import remove_tree
from prov.recipes.project import Project
from prov.records.keys import TaskKey
from prov.scheduler.session import Request, Session
from prov.scheduler.summary import RunOptions, Summary
from prov.store.refs import RefUpdate
from prov.store.repository import Store
from prov.store.sweep import sweep
from prov.sysroot.compose import sysroots_of
from prov.tasks.job import Result
from prov.upkeep.collection import plan_gc, prune
from prov.upkeep.rules import Rules

from .generated import Recipe, edit, random_recipes, write_project

pytestmark = pytest.mark.process


class Watcher:
    def __init__(self) -> None:
        self.ran: list[str] = []
        self.totals: set[int] = set()
        self.last = 0
        self.notes: list[str] = []

    def planned(self, total: int) -> None:
        self.totals.add(total)

    def started(self, key: str, place: str) -> None:
        pass

    def finished(self, key: str, what: str, done: int, total: int, result: Result | None) -> None:
        self.totals.add(total)
        self.last = done
        if what == "ran":
            self.ran.append(key)

    def note(self, text: str) -> None:
        self.notes.append(text)


def build(root: Path, **request: Any) -> tuple[Summary, Watcher]:
    store = Store.create(root / ".prov")
    project = Project.load(root, memory=store.cache / "parsed")
    sysroots = partial(sysroots_of, store)
    session = Session(project, store, sysroots, {"PATH": os.environ["PATH"]})
    watcher = Watcher()
    targets = tuple(f"{name}:{task}" for name in project.names() for task in ("give", "count"))
    summary, _ = session.build(
        Request(targets, **request), watcher, RunOptions(jobs=2, keep_going=True)
    )
    return summary, watcher


def outputs(summary: Summary) -> dict[str, str]:
    return {
        key: each.output.hex()
        for key, each in summary.settled.items()
        if each.output and key.endswith((":give", ":count"))
    }


EDITS = int(os.environ.get("EDITS", "0"))
"""The number of edits by `make edits` in each sandbox."""
A_PROJECT = 25
"""The number of edits to one project before the next one is generated."""


def deployed(root: Path) -> dict[str, str]:
    top = root / "build/deploy"
    return {
        str(path.relative_to(top)): path.read_text()
        for path in sorted(top.rglob("*"))
        if path.is_file()
    }


def remove(root: Path) -> None:
    remove_tree(root)  # including leftovers of tasks


@dataclass
class Edited:
    """A project edited at random; after each edit, its build is compared with a clean one."""

    folder: Path
    random: random.Random
    sandbox: str
    collected: bool = False
    """Whether WORKDIRs were collected.

    If so, a task may run again with unchanged inputs for a task that comes after it.
    """

    def __post_init__(self) -> None:
        self.root, self.clean, self.empty = (
            self.folder / name for name in ("edited", "clean", "empty")
        )
        self.recipes = random_recipes(self.random)
        # capture the host tools once for all clean builds
        write_project(self.empty, two_recipes(), self.sandbox)
        build(self.empty)
        self.write(self.root)
        build(self.root)

    def write(self, root: Path) -> None:
        write_project(root, self.recipes, self.sandbox)

    def disturb(self) -> str:
        """Delete or collect WORKDIRs, or let a build fail, as can happen between builds."""
        what = self.random.choice(
            ["nothing", "nothing", "rm_work", "collected", "failed", "killed deployment"]
        )
        store = Store.open(self.root / ".prov")
        if what == "rm_work":
            remove(self.root / "build/work")
        elif what == "collected":
            self.collected = True
            prune(store, plan_gc(store, Rules(builds=1, days=0, workdirs=0)))
            sweep(store.objects)
        elif what == "failed":
            recipe = self.random.choice(list(self.recipes.values()))
            recipe.fails, edited = True, recipe.edit
            recipe.edit = 9
            self.write(self.root)
            assert not build(self.root)[0].ok
            recipe.fails, recipe.edit = False, edited
        elif what == "killed deployment":
            deploy = store.refs.get("refs/prov/deployed")
            if deploy is not None:
                store.refs.update(
                    RefUpdate("refs/prov/deploying", deploy), RefUpdate("refs/prov/deployed", None)
                )
        return what

    def step(self) -> str:
        """Make and check an edit; return its name."""
        what = f"{self.disturb()}, {edit(self.random, self.recipes)}"
        self.write(self.root)
        summary, watcher = build(self.root)
        assert summary.ok, what
        if self.clean.exists():
            remove(self.clean)
        shutil.copytree(self.empty / ".prov", self.clean / ".prov", symlinks=True)
        self.write(self.clean)
        clean, _ = build(self.clean)
        assert outputs(summary) == outputs(clean), what
        assert deployed(self.root) == deployed(self.clean), what
        again = [
            key for key, each in summary.settled.items() if each.what == "ran" and each.number > 1
        ]
        assert self.collected or again == [], (
            f"{what}: {again} ran although their inputs were recorded"
        )
        assert len(watcher.totals) <= 1, "the total changed while the build ran"
        assert not watcher.totals or watcher.last == watcher.totals.pop()
        idle = build(self.root)
        assert idle[0].ok and idle[1].ran == [], (
            f"{what}: {idle[1].ran} ran again with nothing edited"
        )
        return what

    def check(self) -> None:
        command = ["git", f"--git-dir={self.root / '.prov'}", "fsck", "--strict", "--no-dangling"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        remove(self.folder)


@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 1 << 30), sandbox=st.sampled_from(["none", "auto"]))
def test_incremental_equals_clean(
    tmp_path_factory: pytest.TempPathFactory, seed: int, sandbox: str
) -> None:
    edited = Edited(tmp_path_factory.mktemp("edited"), random.Random(seed), sandbox)
    for _ in range(5):
        edited.step()
    edited.check()


@pytest.mark.edits
@pytest.mark.skipif(not EDITS, reason="`make edits` makes thousands of edits")
@pytest.mark.parametrize("sandbox", ["none", "bwrap"])
def test_many_edits(tmp_path_factory: pytest.TempPathFactory, sandbox: str) -> None:
    seed = int(os.environ.get("EDITS_SEED", "1"))
    for first in range(0, EDITS, A_PROJECT):
        edited = Edited(
            tmp_path_factory.mktemp("edited"), random.Random(f"{seed} {first}"), sandbox
        )
        for number in range(first, min(first + A_PROJECT, EDITS)):
            print(f"{sandbox}, edit {number + 1} of {EDITS}: {edited.step()}", flush=True)
        edited.check()


def two_recipes() -> dict[str, Recipe]:
    return {"a": Recipe("a"), "b": Recipe("b", ["a"])}


def test_unused_variable_changes_nothing(tmp_path: Path) -> None:
    recipes = two_recipes()
    write_project(tmp_path, recipes)
    build(tmp_path)
    recipes["a"].unused = 3
    write_project(tmp_path, recipes)
    assert build(tmp_path)[1].ran == []


def test_comment_is_skipped_where_the_output_is_unchanged(tmp_path: Path) -> None:
    recipes = two_recipes()
    write_project(tmp_path, recipes)
    build(tmp_path)
    recipes["a"].comment = 5
    write_project(tmp_path, recipes)
    summary, watcher = build(tmp_path)
    assert sorted(watcher.ran) == ["a:alter", "a:give", "a:make"]
    assert summary.settled[TaskKey("b:give")].what in ("cut off", "up to date")


def test_failed_task_is_tagged_and_never_reused(tmp_path: Path) -> None:
    recipes = two_recipes()
    recipes["a"].fails = True
    write_project(tmp_path, recipes)
    summary, _ = build(tmp_path)
    assert [result.key for result in summary.failed] == ["a:make"]
    assert "b:give" in summary.not_built
    store = Store.open(tmp_path / ".prov")
    assert len(store.refs.list("refs/tags/failed/a/make/")) == 1
    assert store.refs.list("refs/prov/output/a/make/") == {}
    assert [result.key for result in build(tmp_path)[0].failed] == ["a:make"]
    recipes["a"].fails = False
    write_project(tmp_path, recipes)
    assert build(tmp_path)[0].ok


def test_forced_task_and_its_successors_run(tmp_path: Path) -> None:
    recipes = two_recipes()
    write_project(tmp_path, recipes)
    build(tmp_path)
    _, watcher = build(tmp_path, force=("a:alter",))
    assert sorted(watcher.ran) == ["a:alter", "a:give", "a:make"]


def test_follow_never_keeps_stale_results_and_marks_them(tmp_path: Path) -> None:
    recipes = two_recipes()
    write_project(tmp_path, recipes)
    build(tmp_path)
    recipes["a"].edit = 3
    write_project(tmp_path, recipes)
    summary, watcher = build(tmp_path, follow="never")
    assert not [key for key in watcher.ran if key.startswith("b:")]
    assert summary.settled[TaskKey("b:give")].what == "stale"
    _, watcher = build(tmp_path)
    assert "b:make" in watcher.ran


def test_follow_always_runs_dependents(tmp_path: Path) -> None:
    recipes = two_recipes()
    write_project(tmp_path, recipes)
    build(tmp_path)
    recipes["a"].comment = 4
    write_project(tmp_path, recipes)
    _, watcher = build(tmp_path, follow="always")
    assert "b:give" in watcher.ran


def test_only_names_missing_recipes(tmp_path: Path) -> None:
    from prov.errors import BuildError

    recipes = two_recipes()
    write_project(tmp_path, recipes)
    store = Store.create(tmp_path / ".prov")
    sysroots = partial(sysroots_of, store)
    session = Session(Project.load(tmp_path), store, sysroots, {"PATH": os.environ["PATH"]})
    with pytest.raises(BuildError, match="a:give is not built, and b:make needs its output"):
        session.plan(Request(("b",), only=True))


def test_manual_changes_are_kept_and_not_used(tmp_path: Path) -> None:
    recipes = two_recipes()
    write_project(tmp_path, recipes)
    first, _ = build(tmp_path)
    workdir = next((tmp_path / "build" / "work").glob("*/a/prepare"))
    (workdir / "work" / "in.txt").write_text("by hand\n")
    again, watcher = build(tmp_path, force=("a:make",))
    assert any("changed outside any task" in note for note in watcher.notes)
    assert outputs(again)["a:give"] == outputs(first)["a:give"]
    store = Store.open(tmp_path / ".prov")
    (tag,) = store.refs.list("refs/tags/outside/")
    kept = subprocess.run(
        ["git", f"--git-dir={tmp_path / '.prov'}", "show", f"{tag}:work/in.txt"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert kept.stdout == "by hand\n"


def test_incremental_builds_on_leftovers_and_is_not_reused(tmp_path: Path) -> None:
    recipes = two_recipes()
    write_project(tmp_path, recipes)
    first, _ = build(tmp_path)
    workdir = next((tmp_path / "build" / "work").glob("*/a/prepare"))
    (workdir / "work" / "in.txt").write_text("by hand\n")
    altered, _ = build(tmp_path, force=("a:make",), incremental=True)
    assert outputs(altered)["a:give"] != outputs(first)["a:give"]
    clean, _ = build(tmp_path)
    assert outputs(clean) == outputs(first)


def test_deleting_caches_changes_no_plan(tmp_path: Path) -> None:
    recipes = two_recipes()
    write_project(tmp_path, recipes)
    build(tmp_path)
    subprocess.run(["rm", "-rf", str(tmp_path / ".prov" / "prov")], check=True)
    assert build(tmp_path)[1].ran == []
    subprocess.run(
        ["rm", "-rf", str(tmp_path / ".prov" / "prov"), str(tmp_path / "build")], check=True
    )
    assert build(tmp_path)[1].ran == []


def test_rebuilding_after_rm_work_needs_no_make(tmp_path: Path) -> None:
    recipes = two_recipes()
    write_project(tmp_path, recipes)
    build(tmp_path)
    subprocess.run(["rm", "-rf", str(tmp_path / "build" / "work")], check=True)
    build(tmp_path, force=("a:give",))
    workdir = next((tmp_path / "build" / "work").glob("*/a/prepare"))
    made = subprocess.run(
        ["make", "-C", str(workdir / "work")], capture_output=True, text=True, check=True
    )
    assert "Nothing to be done" in made.stdout


def test_cached_recipe_without_workdir_plans_its_sources_again(tmp_path: Path) -> None:
    recipes = two_recipes()
    write_project(tmp_path, recipes)
    build(tmp_path)
    git = ["git", f"--git-dir={tmp_path / '.prov'}"]
    tags = subprocess.run([*git, "tag"], capture_output=True, text=True, check=True).stdout.split()
    subprocess.run([*git, "tag", "-d", *tags], capture_output=True, check=True)
    _, watcher = build(tmp_path, force=("a:make",))
    assert {"a:prepare", "a:alter", "a:make", "a:give"} <= set(watcher.ran)
    assert not [key for key in watcher.ran if key.startswith("b:")]


def test_incremental_build_uses_a_changed_source(tmp_path: Path) -> None:
    recipes = two_recipes()
    recipe = recipes["a"]
    (tmp_path / "recipes").mkdir()
    write_project(tmp_path, recipes)
    text = (
        "version = '1'\nbuild = ['make']\nsources = [{ file = 'src' }]\n"
        "[tasks.unpack]\nscript = 'cp -a sources/src/. .'\n"
        "[tasks.make]\nafter = ['unpack']\noutputdir = 'out'\nscript = 'make; cp made out/'\n"
    )
    source = tmp_path / "recipes" / "src"
    source.mkdir()
    (source / "Makefile").write_text(
        "made: text other.o\n\tcat text > made\nother.o:\n\techo x >> other.o\n"
    )
    (source / "text").write_text("one\n")
    (tmp_path / "recipes" / "c.toml").write_text(text)

    def make(**request: Any) -> str:
        store = Store.create(tmp_path / ".prov")
        sysroots = partial(sysroots_of, store)
        session = Session(Project.load(tmp_path), store, sysroots, {"PATH": os.environ["PATH"]})
        summary, _ = session.build(Request(("c:make",), **request), Watcher(), RunOptions(jobs=1))
        assert summary.ok
        oid = summary.settled[TaskKey("c:make")].output
        assert oid is not None
        show = ["git", f"--git-dir={tmp_path / '.prov'}", "show", f"{oid.hex()}:content/out/made"]
        return subprocess.run(show, capture_output=True, text=True, check=True).stdout

    assert make() == "one\n"
    (source / "text").write_text("two\n")
    assert make(incremental=True) == "two\n"
    workdir = next((tmp_path / "build/work").glob("*/c/unpack"))
    assert (workdir / "other.o").read_text() == "x\n", (
        "what make need not make again was made again"
    )
    assert recipe.name == "a"


def test_follow_never_remembers_tasks_missing_in_a_partial_build(tmp_path: Path) -> None:
    recipes = two_recipes()
    write_project(tmp_path, recipes)
    build(tmp_path)
    recipes["a"].edit = 3
    write_project(tmp_path, recipes)
    store = Store.create(tmp_path / ".prov")
    sysroots = partial(sysroots_of, store)
    session = Session(Project.load(tmp_path), store, sysroots, {"PATH": os.environ["PATH"]})
    session.build(Request(("a:give",)), Watcher(), RunOptions(jobs=1))
    plan, _ = session.plan(Request(("b:give",), follow="never"))
    assert plan.steps[TaskKey("b:give")].action == "stale"
