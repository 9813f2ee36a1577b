"""Tests of the commit that a record names, and of skipping what git ignores."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from prov.errors import CaptureError
from prov.records.lookup import Records
from prov.store.repository import Store
from prov.wrapped.run import capture_as, run_as
from prov.wrapped.step import CommandRun, CommandStep
from prov.wrapped.version_control import ignored_paths, revision_facts
from tests.wrapped.test_work_tree import git, top

__all__ = ["top"]  # a fixture
pytestmark = pytest.mark.process


def names(store: Store, run: CommandRun) -> list[str]:
    """Return the recorded paths of files."""
    tree = store.objects.commit(run.commit).tree
    return sorted(_below(store, tree, ""))


def _below(store: Store, tree: bytes, prefix: str) -> list[str]:
    paths = []
    for entry in store.objects.tree(tree):
        name = prefix + entry.name.decode().removeprefix("%")
        is_folder = entry.mode == 0o040000
        paths += _below(store, entry.oid, name + "/") if is_folder else [name]
    return paths


def run(store: Store, folder: Path, script: str, *outputs: str) -> CommandRun:
    step = CommandStep.parse("app:compile", outputs=outputs, gitignore=True)
    return run_as(store, folder, step, ["sh", "-c", script], {}, lambda _chunk: None)


def test_a_record_names_the_commit_before_the_command(store: Store, top: Path) -> None:
    head = git(top, "rev-parse", "HEAD")
    step = CommandStep.parse("app:compile")
    script = "echo 2 >src/a.c; git -c user.name=A -c user.email=a commit -qam second"
    first = run_as(store, top, step, ["sh", "-c", script], {}, lambda _chunk: None)
    facts = Records(store).facts(first.commit)
    assert (facts["git-commit"], facts["git-dirty"]) == (head, "no")
    (top / "src" / "a.c").write_text("3\n")
    facts = Records(store).facts(capture_as(store, top / "src", step).commit)
    assert (facts["git-commit"], facts["git-dirty"]) == (git(top, "rev-parse", "HEAD"), "yes")


def test_facts_without_a_commit(tmp_path: Path, top: Path) -> None:
    assert revision_facts(tmp_path) == {}
    (top / ".git" / "index").write_bytes(b"damaged")
    facts = revision_facts(top)
    assert list(facts) == ["git-problem"]
    assert "\n" not in facts["git-problem"]
    git(tmp_path, "init", "-q", "empty")
    assert revision_facts(tmp_path / "empty") == {}


def test_a_full_disk_does_not_prevent_a_run(
    store: Store, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")
    step = CommandStep.parse("app:compile")
    ran = run_as(store, top, step, ["true"], {"PATH": "/usr/bin:/bin"}, lambda _chunk: None)
    assert "/nonexistent" in Records(store).facts(ran.commit)["git-problem"]


def test_ignored_paths_are_skipped(store: Store, top: Path) -> None:
    script = "mkdir -p build; echo >build/program; cp src/a.c src/a.o; echo >new"
    first = run(store, top, script)
    assert names(store, first) == [".gitignore", "new", "src/a.c"]
    assert names(store, run(store, top / "src", "echo >b.o; echo >b.c")) == ["a.c", "b.c"]
    (top / ".gitignore").write_text("")
    assert "build/program" in names(store, run(store, top, "true"))


@pytest.mark.parametrize(
    ("output", "recorded"),
    [
        ("build", ["build/deep/image/a.o", "build/log"]),
        ("build/deep/image", ["build/deep/image/a.o"]),
        ("src", ["src/a.o"]),
        (".", ["build/deep/image/a.o", "build/log", "src/a.o"]),
    ],
)
def test_outputs_are_recorded_although_git_ignores_them(
    store: Store, top: Path, output: str, recorded: list[str]
) -> None:
    script = (
        "mkdir -p build/deep/image; echo >build/log; tee src/a.o >build/deep/image/a.o <src/a.c"
    )
    first = run(store, top, script, output)
    assert not first.problem
    assert names(store, first) == sorted([".gitignore", "src/a.c", *recorded])


def test_repositories_inside_follow_their_own_rules(
    store: Store, top: Path, tmp_path: Path
) -> None:
    lib = tmp_path / "lib"
    git(tmp_path, "init", "-q", "lib")
    (lib / ".gitignore").write_text("*.log\n/obj/\n")
    (lib / "lib.c").touch()
    git(lib, "add", ".")
    git(lib, "commit", "-q", "-m", "first")
    git(top, "submodule", "--quiet", "add", str(lib), "module")
    git(tmp_path, "clone", "-q", str(lib), "tree/deep/nested")
    git(lib, "worktree", "add", "-q", str(top / "linked"))
    for folder in ("module", "deep/nested", "linked", "src"):
        (top / folder / "obj").mkdir()
        (top / folder / "obj" / "f").touch()
        (top / folder / "x.log").touch()
        (top / folder / "x.o").touch()
    own = [f"{place}/{name}" for place in ("module", "deep/nested", "linked") for name in ("x.o",)]
    tracked = [
        f"{place}/{name}"
        for place in ("module", "deep/nested", "linked")
        for name in (".gitignore", "lib.c")
    ]
    others = [".gitignore", ".gitmodules", "src/a.c", "src/obj/f", "src/x.log"]
    assert names(store, run(store, top, "true")) == sorted([*own, *tracked, *others])


def test_a_folder_that_git_does_not_know(tmp_path: Path, top: Path) -> None:
    with pytest.raises(CaptureError, match="not in a git work tree"):
        ignored_paths(tmp_path, ())
    (top / "build" / "x").mkdir(parents=True)
    (top / "build" / "x" / "y").touch()
    for folder in ("build", "build/x"):
        with pytest.raises(CaptureError, match="git ignores"):
            ignored_paths(top / folder, ())


def test_a_folder_with_ignored_files_only(top: Path) -> None:
    (top / "deep").mkdir()
    assert ignored_paths(top / "deep", ()) == set()
    (top / "deep" / "a.o").touch()
    assert ignored_paths(top / "deep", ()) == {b"a.o"}
