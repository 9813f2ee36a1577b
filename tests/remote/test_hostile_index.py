"""The index branch of a remote: an invalid commit is reported, and the other commits are read."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from prov.records.refs import REMOTE_INDEX as INDEX
from prov.remote.git_remote import GitRemote
from prov.remote.settings import Remote
from prov.store.git import make_bare
from prov.store.objects import Oid, object_id
from prov.store.odb import ObjectDatabase
from prov.store.refs import RefStore, RefUpdate
from prov.store.repository import Store
from prov.transport.access import Access
from prov.transport.errors import Malformed, Untrusted
from tests.remote.hostile import FILE, FOLDER, LINK, Row
from tests.remote.hostile_history import publication_text

pytestmark = pytest.mark.process

BY = b"author prov <prov@localhost> 5 +0000\ncommitter prov <prov@localhost> 5 +0000\n"


class Lab:
    """A remote's fetched index, written commit by commit."""

    def __init__(self, folder: Path) -> None:
        remote = Remote("team", f"file://{folder}/remote.git", trust="none")
        make_bare(folder / "remote.git")
        self.remote = GitRemote(remote, Store.create(folder / "store.git"), Access())
        self.tip: Oid | None = None
        self.tasks = 0

    def add(self, kind: str, data: bytes) -> Oid:
        with ObjectDatabase(self.remote.git).writer() as writer:
            return writer.add(kind, data)  # type: ignore[arg-type]

    def file(self, data: bytes) -> Oid:
        return self.add("blob", data)

    def folder(self, *rows: Row) -> Oid:
        ordered = sorted(rows, key=lambda row: row.place)
        return self.add(
            "tree", b"".join(b"%s %s\0%s" % (row.mode, row.name, row.oid) for row in ordered)
        )

    def text(self) -> Oid:
        """Write a valid publication of one task."""
        self.tasks += 1
        ids = [random.Random(f"{self.tasks} {n}").randbytes(20).hex() for n in range(4)]
        return self.file(
            f"prov publication 1\ntime 5\ntask a:b {' '.join(ids)} {'0' * 64} size=1\n".encode()
        )

    def publications(self, *numbers: bytes) -> Row:
        return Row(
            FOLDER,
            b"publications",
            self.folder(*(Row(FILE, number, self.text()) for number in numbers)),
        )

    def push(self, tree: Oid, more: bytes = b"", by: bytes = BY) -> None:
        parent = b"parent %s\n" % self.tip.hex().encode() if self.tip else b""
        content = b"tree %s\n%s%s%s\nm\n" % (tree.hex().encode(), parent, by, more)
        self.tip = self.add("commit", content)
        RefStore(self.remote.git).update(RefUpdate(INDEX, self.tip))

    def read(self) -> list[Untrusted]:
        """Read the pushed commits, without git's own checks."""
        return self.remote._read()


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    made = Lab(tmp_path)
    made.push(made.folder(made.publications(b"00000001")))
    assert made.read() == []
    return made


BAD_TREES: dict[str, Callable[[Lab], list[Row]]] = {
    "publications is a file": lambda lab: [Row(FILE, b"publications", lab.file(b"x"))],
    "publications is a symlink": lambda lab: [Row(LINK, b"publications", lab.file(b"/etc"))],
    "a publication is a folder": lambda lab: [
        Row(
            FOLDER,
            b"publications",
            lab.folder(Row(FOLDER, b"00000002", lab.folder(Row(FILE, b"x", lab.file(b"x"))))),
        )
    ],
    "signatures is a file": lambda lab: [
        lab.publications(b"00000002"),
        Row(FILE, b"signatures", lab.file(b"x")),
    ],
    "a signature is a folder": lambda lab: [
        lab.publications(b"00000002"),
        Row(
            FOLDER,
            b"signatures",
            lab.folder(Row(FOLDER, b"00000002", lab.folder(Row(FILE, b"x", lab.file(b"x"))))),
        ),
    ],
    "a publication is missing": lambda lab: [
        Row(
            FOLDER,
            b"publications",
            lab.folder(Row(FILE, b"00000002", object_id("blob", b"nowhere"))),
        )
    ],
    "gone is a folder": lambda lab: [
        Row(FOLDER, b"gone", lab.folder(Row(FILE, b"x", lab.file(b"x"))))
    ],
}


@pytest.mark.parametrize("name", BAD_TREES)
def test_unreadable_parts_are_reported_and_the_rest_is_read(lab: Lab, name: str) -> None:
    lab.push(lab.folder(*BAD_TREES[name](lab)))
    lab.push(lab.folder(lab.publications(b"00000009")))
    (problem,) = lab.read()
    assert isinstance(problem, Malformed) and problem.remote == "team"
    assert lab.remote.index.count() == 2
    assert lab.read() == []


@pytest.mark.parametrize(
    ("more", "by"),
    [
        (b"tree zz\n", BY),
        (b"parent \xff\n", BY),
        (b"tree 00\n", BY),
        (b"author x\n", BY),
        (b"", b"author prov <p> x +0000\ncommitter prov <p> 5 +0000\n"),
        (b"", b"author \xff\ncommitter \xff\n"),
        (b"", b""),
    ],
)
def test_a_commit_with_strange_lines(lab: Lab, more: bytes, by: bytes) -> None:
    lab.push(lab.folder(lab.publications(b"00000002")), more, by)
    assert all(isinstance(problem, Malformed) for problem in lab.read())
    lab.push(lab.folder(lab.publications(b"00000009")))
    lab.read()
    assert lab.remote.index.count() in (2, 3)


def test_an_invalid_tree(lab: Lab) -> None:
    lab.push(lab.add("tree", b"100644 publications"))
    lab.push(lab.file(b"no tree"))
    assert [type(problem) for problem in lab.read()] == [Malformed, Malformed]


@pytest.mark.parametrize(
    "name",
    [b"1", b"x", b"-0000001", b"0000000\xd9", b"../00000002", b"000000002", b"9" * 13, b"0x000002"],
)
def test_names_that_are_not_numbers_are_skipped(lab: Lab, name: bytes) -> None:
    lab.push(lab.folder(lab.publications(name)))
    assert lab.read() == []
    assert lab.remote.index.count() == 1


@pytest.mark.parametrize("number", [b"00000001", b"00000000", b"00000002"])
def test_numbers_are_unique_and_increase(lab: Lab, number: bytes) -> None:
    """Otherwise an attacker with push access but without an allowed key could replace another
    publisher's publication.
    """
    lab.push(lab.folder(lab.publications(b"00000002", b"00000003")))
    lab.push(lab.folder(lab.publications(number)))
    (problem,) = lab.read()
    assert isinstance(problem, Malformed)
    assert lab.remote.index.count() == 3
    assert [each.number for each in lab.remote.index.publications()] == [1, 2, 3]


def test_a_list_of_deleted_ids_with_junk(lab: Lab) -> None:
    ((task, _, _),) = lab.remote.index.tasks()
    junk = (
        b"\xff\0\n"
        + b"x" * 100_000
        + b"\n"
        + b"0" * 41
        + b"\n../..\n%s\n" % task.record.hex().upper().encode()
    )
    lab.push(lab.folder(Row(FILE, b"gone", lab.file(junk))))
    assert lab.read() == []
    assert lab.remote.index.count() == 1
    lab.push(lab.folder(Row(FILE, b"gone", lab.file(junk + task.record.hex().encode()))))
    assert lab.read() == []
    assert lab.remote.index.count() == 0


def test_many_hostile_publications_at_once(lab: Lab) -> None:
    texts = [publication_text(random.Random(number)) for number in range(300)]
    rows = [Row(FILE, b"%08d" % number, lab.file(text)) for number, text in enumerate(texts, 2)]
    lab.push(lab.folder(Row(FOLDER, b"publications", lab.folder(*rows))))
    problems = lab.read()
    assert len(problems) == 300 and all(isinstance(problem, Malformed) for problem in problems)
    assert lab.remote.index.count() == 1
