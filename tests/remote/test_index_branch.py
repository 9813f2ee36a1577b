"""Read commits of a remote's index."""

from __future__ import annotations

from pathlib import Path

import pytest

from prov.remote.incoming import make_commit
from prov.remote.index_branch import UNREADABLE, IndexCommit, PublishedId, read_commit, read_text
from prov.store.objects import MODE_DIRECTORY, MODE_FILE, Entry, Oid, object_id
from prov.store.odb import ObjectDatabase
from prov.transport.git import make_scratch

MOST = 1000
FIRST, SECOND = b"a" * 20, b"b" * 20


def write_files(repository: Path, files: dict[str, bytes]) -> Oid:
    """Write a tree with these files, at the top level or in a folder, into a repository."""
    folders: dict[str, list[Entry]] = {}
    with ObjectDatabase(repository).writer() as writer:
        for path, content in files.items():
            folder, _, name = path.rpartition("/")
            entry = Entry(name.encode(), MODE_FILE, writer.add("blob", content))
            folders.setdefault(folder, []).append(entry)
        top = folders.pop("", [])
        for name, entries in folders.items():
            top.append(Entry(name.encode(), MODE_DIRECTORY, writer.add_tree(entries)))
        return writer.add_tree(top)


def commit(tmp_path: Path, files: dict[str, bytes]) -> tuple[ObjectDatabase, Oid]:
    repository = make_scratch(tmp_path / "git")
    oid = make_commit(repository, [], "1 tasks", write_files(repository, files))
    return ObjectDatabase(repository, most=MOST), oid


def blob(data: bytes) -> Oid:
    return object_id("blob", data)


@pytest.mark.parametrize(
    ("files", "publications", "deleted"),
    [
        ({"else": b"x"}, {}, set()),
        ({"publications/00000001": b"x"}, {1: PublishedId(blob(b"x"), None)}, set()),
        (
            {"publications/00000007": b"x", "signatures/00000007": b"s"},
            {7: PublishedId(blob(b"x"), blob(b"s"))},
            set(),
        ),
        ({"signatures/00000007": b"s"}, {}, set()),
        ({"publications/1": b"x", "publications/x0000001": b"x"}, {}, set()),
        ({"publications/000000001": b"x"}, {}, set()),
        ({"publications/123456789": b"x"}, {123456789: PublishedId(blob(b"x"), None)}, set()),
        ({"gone": f"{FIRST.hex()}\n{SECOND.hex()}\n".encode()}, {}, {FIRST, SECOND}),
        ({"gone": f"{FIRST.hex()}x\n{SECOND.hex()[1:]} {SECOND.hex()}".encode()}, {}, {SECOND}),
    ],
)
def test_content_of_a_commit(
    files: dict[str, bytes],
    publications: dict[int, PublishedId],
    deleted: set[Oid],
    tmp_path: Path,
) -> None:
    objects, oid = commit(tmp_path, files)
    assert read_commit(objects, oid, MOST) == IndexCommit(publications, deleted)


@pytest.mark.parametrize(
    "files", [{"publications": b"a file"}, {"gone/x": b"a folder"}, {"gone": bytes(MOST + 1)}]
)
def test_a_commit_that_can_not_be_read(files: dict[str, bytes], tmp_path: Path) -> None:
    objects, oid = commit(tmp_path, files)
    with pytest.raises(UNREADABLE):
        read_commit(objects, oid, MOST)


def test_a_publication_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    objects, oid = commit(tmp_path, {"publications/00000001": bytes(MOST + 1)})
    (publication,) = read_commit(objects, oid, MOST).publications.values()
    with pytest.raises(UNREADABLE):
        read_text(objects, publication, MOST)
