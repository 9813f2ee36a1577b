"""Ids in git's SHA-256 format, compared with those that git computes."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prov.intake.digest import Digest, Digests, commit_digest, object_digest, tree_digest
from prov.store.objects import (
    CONSTANT_IDENTITY,
    MODE_DIRECTORY,
    MODE_FILE,
    Commit,
    Entry,
    Kind,
    Oid,
    encode_tree,
    object_id,
)


class Objects:
    """Objects in memory."""

    def __init__(self) -> None:
        self.contents: dict[Oid, bytes] = {}
        self.trees: dict[Oid, list[Entry]] = {}
        self.commits: dict[Oid, Commit] = {}
        self.reads = 0

    def _add(self, kind: Kind, data: bytes) -> Oid:
        oid = object_id(kind, data)
        self.contents[oid] = data
        return oid

    def add_blob(self, data: bytes) -> Oid:
        return self._add("blob", data)

    def add_tree(self, *entries: Entry) -> Oid:
        oid = self._add("tree", encode_tree(list(entries)))
        self.trees[oid] = list(entries)
        return oid

    def add_commit(self, tree: Oid, *parents: Oid) -> Oid:
        commit = Commit(tree, parents, CONSTANT_IDENTITY, "message\n")
        oid = self._add("commit", commit.encode())
        self.commits[oid] = commit
        return oid

    def blob(self, oid: Oid) -> bytes:
        return self.contents[oid]

    def blob_size(self, oid: Oid) -> int:
        return len(self.contents[oid])

    def stream_blob(self, oid: Oid) -> Iterator[bytes]:
        self.reads += 1
        yield from (self.contents[oid][:3], self.contents[oid][3:])

    def tree(self, oid: Oid) -> list[Entry]:
        self.reads += 1
        return self.trees[oid]

    def commit(self, oid: Oid) -> Commit:
        self.reads += 1
        return self.commits[oid]


@pytest.fixture
def objects() -> Objects:
    return Objects()


def digests_of(objects: Objects, tmp_path: Path) -> Digests:
    return Digests(objects, tmp_path / "digests")


def folder(objects: Objects) -> Oid:
    file = Entry(b"file", MODE_FILE, objects.add_blob(b"content"))
    inner = objects.add_tree(file, Entry(b"more", MODE_FILE, objects.add_blob(b"")))
    return objects.add_tree(Entry(b"a", MODE_DIRECTORY, inner), file)


def test_digests_match_gits(objects: Objects, tmp_path: Path) -> None:
    git_dir = tmp_path / "sha256.git"
    git = ["git", f"--git-dir={git_dir}"]
    subprocess.run(["git", "init", "-q", "--bare", "--object-format=sha256", git_dir], check=True)

    def write(kind: str, data: bytes) -> str:
        command = [*git, "hash-object", "-w", "--stdin", "-t", kind]
        return subprocess.run(command, input=data, capture_output=True, check=True).stdout.decode()

    digests = digests_of(objects, tmp_path)
    blob = objects.add_blob(b"content")
    assert digests.blob(blob).id.hex() == write("blob", b"content").strip()
    tree = objects.add_tree(Entry(b"file", MODE_FILE, blob))
    data = b"100644 file\0" + digests.blob(blob).id
    assert digests.tree(tree).id.hex() == write("tree", data).strip()
    commit = objects.add_commit(tree, objects.add_commit(tree))
    (parent,) = objects.commits[commit].parents
    text = objects.contents[commit].decode()
    text = text.replace(tree.hex(), digests.tree(tree).id.hex())
    text = text.replace(parent.hex(), digests.commit(parent).id.hex())
    assert digests.commit(commit).id.hex() == write("commit", text.encode()).strip()


def test_the_size_of_a_tree_on_disk(objects: Objects, tmp_path: Path) -> None:
    digest = digests_of(objects, tmp_path).tree(folder(objects))
    assert (digest.paths, digest.size, digest.depth) == (1 + 3 + 1, 14, 2)
    assert digest.length == len(b"a/file/") and digest.kind == "tree"


def test_saved_digests_are_not_computed_again(objects: Objects, tmp_path: Path) -> None:
    tree = folder(objects)
    first = digests_of(objects, tmp_path)
    digest = first.tree(tree)
    first.save()
    objects.reads = 0
    second = digests_of(objects, tmp_path)
    assert second.known(tree) == second.tree(tree) == digest
    assert objects.reads == 0
    assert second.known(bytes(20)) is None


def test_digests_are_computed_without_a_file(objects: Objects, tmp_path: Path) -> None:
    (tmp_path / "digests").mkdir()
    digests = digests_of(objects, tmp_path)
    tree = folder(objects)
    assert digests.known(tree) is None
    assert digests.tree(tree).id == digests_of(objects, tmp_path / "else").tree(tree).id
    digests.save()


@given(st.lists(st.integers(0, 1 << 40), max_size=5))
def test_sizes_add_up(sizes: list[int]) -> None:
    entries = [Entry(b"%d" % number, MODE_FILE, bytes(20)) for number in range(len(sizes))]
    digest = tree_digest(entries, [Digest(bytes(32), 1, size) for size in sizes])
    assert digest.size == sum(sizes)
    assert digest.paths == 1 + len(sizes)


def test_only_the_header_of_a_commit_has_ids() -> None:
    content = b"tree 00\nparent 11\n\ntree 00\nparent 11\n"
    expected = b"tree aa\nparent bb\n\ntree 00\nparent 11\n"
    assert commit_digest(content, b"\xaa", [b"\xbb"]) == object_digest("commit", expected)
