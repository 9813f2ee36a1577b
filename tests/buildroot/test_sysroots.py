"""Tests of recording host and target directories."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prov.buildroot.sysroots import added, settle, sysroot_paths
from prov.store.odb import ObjectWriter
from prov.store.repository import Store
from prov.worktree.attributes import EMPTY, FileNode, Pair, at_path, put_at, walk

Files = dict[str, bytes]
"""Path -> content, in at most two folders."""

NAMES = st.sampled_from(["a", "b", "c"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
FILES = st.dictionaries(PATHS, st.sampled_from([b"1", b"2"]), max_size=6)


def test_per_package_directories_are_sysroots() -> None:
    variables = {
        "BASE_DIR": "/o",
        "HOST_DIR": "/o/per-package/zlib/host",
        "TARGET_DIR": "/o/per-package/zlib/target",
    }
    assert sysroot_paths(variables) == {
        "native": Path("/o/per-package/zlib/host"),
        "target": Path("/o/per-package/zlib/target"),
    }


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"HOST_DIR": "/per-package/zlib/host"},
        {"BASE_DIR": "/o", "HOST_DIR": "/o/host", "TARGET_DIR": "/o/target"},
    ],
)
def test_common_directories_are_no_sysroots(variables: dict[str, str]) -> None:
    assert sysroot_paths(variables) == {}


def build(writer: ObjectWriter, files: Files) -> Pair:
    """Return a directory with files. A later path replaces a file in place of its folder."""
    pair = EMPTY
    for path, content in files.items():
        node = FileNode(stat.S_IFREG | 0o644, writer.add("blob", content))
        pair = put_at(writer, pair, path.encode(), node)
    return pair


def files_in(writer: ObjectWriter, pair: Pair) -> dict[bytes, FileNode]:
    """Return path -> node of all files."""
    return {path: node for path, node in walk(writer, pair) if not node.is_directory}


@given(FILES, FILES)
def test_a_step_added_what_is_new_or_changed(
    tmp_path_factory: pytest.TempPathFactory, old: Files, new: Files
) -> None:
    store = Store.create(tmp_path_factory.getbasetemp() / "added.git")
    writer = store.objects.writer()
    before, after = build(writer, old), build(writer, new)
    was, now = files_in(writer, before), files_in(writer, after)
    expected = {path: node for path, node in now.items() if was.get(path) != node}
    assert files_in(writer, added(writer, before, after)) == expected


def test_an_unchanged_directory_adds_nothing(store: Store) -> None:
    writer = store.objects.writer()
    pair = build(writer, {"a/b": b"1", "c": b"2"})
    assert added(writer, pair, pair) == EMPTY
    assert added(writer, EMPTY, pair) == pair


def test_a_new_empty_folder_was_added(store: Store, tmp_path: Path) -> None:
    (tmp_path / "host/lib").mkdir(parents=True)
    before = settle(store, tmp_path / "host")
    (tmp_path / "host/lib/empty").mkdir()
    writer = store.objects.writer()
    new = added(writer, before, settle(store, tmp_path / "host"))
    assert [path for path, _ in walk(writer, new)] == [b"lib", b"lib/empty"]


def test_a_sysroot_has_no_mtimes(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "host"
    folder.mkdir()
    (folder / "a").write_text("1\n")
    first = settle(store, folder)
    os.utime(folder / "a", (0, 0))
    assert settle(store, folder) == first
    (folder / "a").write_text("2\n")
    second = settle(store, folder)
    assert second != first
    node = at_path(store.objects, second, b"a")
    assert node is not None
    assert store.objects.blob(node.oid) == b"2\n"


def test_a_missing_sysroot_is_empty(store: Store, tmp_path: Path) -> None:
    assert settle(store, tmp_path / "nowhere") == EMPTY


def test_only_the_last_state_of_a_sysroot_is_kept(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "host"
    folder.mkdir()
    for text in ("1\n", "2\n", "3\n"):
        (folder / "a").write_text(text)
        settle(store, folder)
    (commit,) = store.refs.list("refs/prov/").values()
    before = store.objects.commit(commit).parents[0]
    assert store.objects.commit(before).parents == ()
