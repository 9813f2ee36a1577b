"""Tests of packages used from folders of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from prov.records.ids import OutputId
from prov.records.keys import TaskKey
from prov.records.output import Output, write_output
from prov.store.objects import MODE_DIRECTORY, Entry
from prov.store.repository import Store
from prov.tasks.direct import put_direct
from prov.tasks.job import Taken
from prov.worktree.attributes import Pair
from tests.records.samples import tree_of
from tests.tasks.samples import workspace_of

LINKS = Path("/store/bin")


@pytest.fixture
def output(store: Store) -> OutputId:
    """An output whose folder `image` contains a file with a token."""
    with store.objects.writer() as writer:
        files = tree_of(writer, {"tool": "@PROV:SYSROOT@\n", "data": "1\n"})
        attributes = tree_of(writer, {"%attributes": "tool\tfixme=text:S\n"})
        tree = writer.add_tree([Entry(b"image", MODE_DIRECTORY, files)])
        below = writer.add_tree([Entry(b"image", MODE_DIRECTORY, attributes)])
        return write_output(writer, Output(Pair(tree, below)))


def taken(output: OutputId, *paths: bytes) -> Taken:
    return Taken(TaskKey("pseudo:stage"), output, paths or (b"image",), direct=True)


@pytest.mark.parametrize("sandbox", [None, "bwrap"])
def test_a_package_has_its_own_paths(
    store: Store, tmp_path: Path, output: OutputId, sandbox: str | None
) -> None:
    workspace = workspace_of(store, tmp_path / "work", sandbox=sandbox)
    folder = put_direct(workspace, taken(output), LINKS)
    seen = "/build/direct/pseudo" if sandbox else str(folder)
    assert (folder / "tool").read_text() == f"{seen}\n"
    assert (folder / "data").read_text() == "1\n"
    assert folder.name.startswith("pseudo-")


def test_a_package_is_placed_once(store: Store, tmp_path: Path, output: OutputId) -> None:
    workspace = workspace_of(store, tmp_path / "work")
    folder = put_direct(workspace, taken(output), LINKS)
    seal = folder.stat().st_ino
    assert put_direct(workspace, taken(output), LINKS) == folder
    assert folder.stat().st_ino == seal


def test_a_changed_package_is_placed_again(store: Store, tmp_path: Path, output: OutputId) -> None:
    workspace = workspace_of(store, tmp_path / "work")
    folder = put_direct(workspace, taken(output), LINKS)
    (folder / "data").chmod(0o644)
    (folder / "data").write_text("changed by a task\n")
    assert put_direct(workspace, taken(output), LINKS) == folder
    assert (folder / "data").read_text() == "1\n"


def test_other_tools_need_a_separate_folder(store: Store, tmp_path: Path, output: OutputId) -> None:
    workspace = workspace_of(store, tmp_path / "work")
    folders = {put_direct(workspace, taken(output), Path(links)) for links in ("/a", "/b")}
    sandboxed = workspace_of(store, tmp_path / "work", sandbox="bwrap")
    folders.add(put_direct(sandboxed, taken(output), Path("/a")))
    assert len(folders) == 3


def test_missing_folders_of_an_output_are_skipped(
    store: Store, tmp_path: Path, output: OutputId
) -> None:
    workspace = workspace_of(store, tmp_path / "work")
    folder = put_direct(workspace, taken(output, b"nothing"), LINKS)
    assert list(folder.iterdir()) == []
