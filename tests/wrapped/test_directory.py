"""Tests of directories whose states are recorded without recipes."""

from __future__ import annotations

from pathlib import Path

import pytest

from prov.errors import CaptureError
from prov.store.repository import Store
from prov.worktree.attributes import walk
from prov.wrapped.directory import Directory, Omissions, recording


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory with a file, version control data and a cache."""
    path = tmp_path / "src"
    for name in (".git/HEAD", "lib/.svn/entries", "lib/.jj/repo", "cache/object", "a"):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(name)
    return path


def paths(directory: Directory) -> list[str]:
    """Return the paths in the current state of a directory."""
    pair = directory.capture().pair
    directory.writer.finish()
    return sorted(path.decode() for path, _ in walk(directory.store.objects, pair))


def test_version_control_data_and_excluded_paths_are_skipped(store: Store, folder: Path) -> None:
    with recording(store, folder, Omissions()) as directory:
        assert paths(directory) == ["a", "cache", "cache/object", "lib"]
    with recording(store, folder, Omissions(exclude=("cache/",))) as directory:
        assert paths(directory) == ["a", "lib"]


def test_a_store_in_the_directory_is_skipped(folder: Path) -> None:
    store = Store.create(folder / "lib" / "own [store]")
    with recording(store, folder, Omissions()) as directory:
        assert "lib/own [store]" not in paths(directory)


def test_a_change_becomes_a_commit_once(store: Store, folder: Path) -> None:
    with recording(store, folder, Omissions()) as directory:
        first = directory.settle()
        assert directory.settle() == first == directory.last()
        (folder / ".git/HEAD").write_text("changed")
        assert directory.settle() == first
        (folder / "a").write_text("changed")
        second = directory.settle()
    assert store.objects.commit(second.commit).parents[0] == first.commit
    assert store.objects.commit(second.commit).message == "changed outside any task\n"
    assert store.refs.get(directory.ref) == second.commit


def test_a_directory_has_one_history_under_all_its_names(store: Store, folder: Path) -> None:
    link = folder.parent / "link"
    link.symlink_to(folder)
    with recording(store, folder, Omissions()) as directory:
        start = directory.settle()
    with recording(store, link, Omissions()) as directory:
        assert directory.last() == start


@pytest.mark.parametrize("name", ["missing", "src/a"])
def test_only_a_directory_is_recorded(store: Store, folder: Path, name: str) -> None:
    with (
        pytest.raises(CaptureError, match="is not a directory"),
        recording(store, folder.parent / name, Omissions()),
    ):
        pass
