"""Tests of files before a command."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from prov.reads.recorded import Recorded
from prov.store.repository import Store
from prov.worktree.exclude import Exclude
from prov.worktree.snapshot import capture


@pytest.fixture
def recorded(store: Store, tmp_path: Path) -> Recorded:
    """The state of a folder, which has changed since."""
    folder = tmp_path / "src"
    (folder / "sub").mkdir(parents=True)
    (folder / ".git").mkdir()
    (folder / "sub").chmod(0o700)
    (folder / "f").write_text("1")
    (folder / "l").symlink_to("f")
    exclude = Exclude((".git",))
    with store.objects.writer() as writer:
        pair = capture(store, folder, writer, exclude=exclude).pair
    (folder / "f").unlink()
    (folder / "new").write_text("2")
    return Recorded(store.objects, bytes(folder), pair, lambda path: exclude(path, directory=True))


def test_the_recorded_state_is_seen(recorded: Recorded) -> None:
    top = recorded.directory
    modes = {
        name: recorded.lookup(os.path.join(top, name)) for name in (b"f", b"sub", b"new", b".git")
    }
    assert [before and oct(before.mode) for before in modes.values()] == [
        "0o100644",
        "0o40700",
        None,
        "0o40755",
    ]
    link = recorded.lookup(top + b"/l")
    assert link is not None
    assert link.target == b"f"
    assert recorded.names(top) == [b".git", b"f", b"l", b"sub"]
    assert recorded.names(top + b"/f") == recorded.names(top + b"/none") == []
    assert recorded.lookup(top) is not None
    assert recorded.lookup(top + b"/f/x") is None
    assert recorded.lookup(os.path.dirname(top)) is not None
    assert recorded.head(top + b"/new") == b"2"


def test_paths_are_spelled_relative_to_the_directory() -> None:
    here = Recorded(None, b"/home/u/src", (b"", None))  # type: ignore[arg-type]
    there = Recorded(None, b"/ci/job", (b"", None))  # type: ignore[arg-type]
    for path, text, elsewhere in (
        (b"/home/u/src", ".", b"/ci/job"),
        (b"/home/u/src/a/..b", "a/..b", b"/ci/job/a/..b"),
        (b"/home/u/src/..b", "..b", b"/ci/job/..b"),
        (b"/home/u", "..", b"/ci"),
        (b"/home", "../..", b"/"),
        (b"/", "/", b"/"),
        (b"/home/us", "/home/us", b"/home/us"),
    ):
        assert here.spelled(path) == text
        assert here.path_of(text) == path
        assert there.path_of(text) == elsewhere
