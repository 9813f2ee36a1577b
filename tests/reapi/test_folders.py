"""Folders of objects: each depends on its tree alone, and blobs have their SHA-256 ids."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from prov.farm.order import TOOLS
from prov.reapi.folders import ObjectFolders, folder_of_files
from prov.reapi.wire import messages_pb2 as wire
from prov.records.ids import CommitId
from prov.remote.receive import digests_of
from prov.store.objects import (
    CONSTANT_IDENTITY,
    MODE_DIRECTORY,
    MODE_EXECUTABLE,
    MODE_FILE,
    Commit,
    Entry,
)
from prov.store.repository import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store")


def order_of(store: Store, text: bytes) -> CommitId:
    """Write a commit with a text, an unchanging folder, and a host tool."""
    with store.objects.writer() as writer:
        same = writer.add_tree([Entry(b"\xff", MODE_FILE, writer.add("blob", b"same"))])
        tools = writer.add_tree([Entry(b"sh", MODE_EXECUTABLE, writer.add("blob", b"shell"))])
        entries = [
            Entry(b"order", MODE_FILE, writer.add("blob", text)),
            Entry(b"start", MODE_DIRECTORY, same),
            Entry(TOOLS, MODE_DIRECTORY, tools),
        ]
        tree = writer.add_tree(entries)
        return CommitId(writer.add_commit(Commit(tree, (), CONSTANT_IDENTITY, "order\n")))


def folders_of(store: Store) -> ObjectFolders:
    return ObjectFolders(store.objects, digests_of(store.objects), store.cache / "reapi")


def test_all_objects_but_the_tools_have_files(store: Store) -> None:
    folder = folders_of(store).of_order(order_of(store, b"one"))
    contents = {blob.read() for blob in folder.contents()}
    assert {b"blob 3\0one", b"blob 4\0same"} < contents
    assert not any(b"shell" in data for data in contents)
    for blob in folder.contents():
        data = blob.read()
        assert blob.digest == (hashlib.sha256(data).hexdigest(), len(data))


def test_an_unchanged_tree_has_the_same_folder(store: Store) -> None:
    one, two = order_of(store, b"one"), order_of(store, b"two")
    folders = folders_of(store)
    first, second = folders.of_order(one), folders.of_order(two)
    assert first.blob.digest != second.blob.digest
    assert [below.blob.digest for below in first.below] == [
        below.blob.digest for below in second.below
    ]


def test_tools_are_plain_files_whose_digests_are_remembered(store: Store) -> None:
    order = order_of(store, b"one")
    folder = folders_of(store).of_tools(order)
    assert [blob.read() for blob in folder.files] == [b"shell"]
    assert list((store.cache / "reapi").glob("tools-*"))
    assert folders_of(store).of_tools(order).blob.digest == folder.blob.digest


def test_files_keep_names_and_executable_bits(tmp_path: Path) -> None:
    for name, mode in (("a", 0o644), ("b", 0o755)):
        (tmp_path / name).write_text(name)
        (tmp_path / name).chmod(mode)
    folder = folder_of_files([("x/b", tmp_path / "b"), ("a", tmp_path / "a")])
    message = wire.Directory.FromString(folder.blob.read())
    assert [(row.name, row.is_executable) for row in message.files] == [("a", False)]
    assert [row.name for row in message.directories] == ["x"]
    below = wire.Directory.FromString(folder.below[0].blob.read())
    assert [(row.name, row.is_executable) for row in below.files] == [("b", True)]
