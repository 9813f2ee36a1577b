from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prov.store.objects import (
    EMPTY_TREE,
    MODE_DIRECTORY,
    MODE_EXECUTABLE,
    MODE_FILE,
    MODE_SYMLINK,
    Commit,
    Entry,
    Identity,
    decode_commit,
    decode_tree,
    encode_tree,
    escape_name,
    object_id,
    unescape_name,
)
from prov.store.odb import ObjectWriter
from prov.store.refs import RefUpdate
from prov.store.repository import Store

names = st.binary(min_size=1, max_size=24).filter(
    lambda name: b"/" not in name and b"\0" not in name
)
disguises = st.lists(
    st.sampled_from(
        [
            b".git",
            b".GiT",
            b"git~1",
            b"GIT~12",
            b"\xe2\x80\x8c",
            b"\xef\xbb\xbf",
            b"%",
            b"\\",
            b".",
            b" ",
            b"modules",
        ]
    ),
    min_size=1,
    max_size=5,
).map(b"".join)

PLAIN = [
    b"a",
    b"gitk",
    b"git",
    b".gi",
    b"x.git",
    b"Makefile",
    b"..git",
    b"...",
    b"m4",
    b"git.c",
    b"\xff\xfe",
    b"a b",
    b"foo~1",
]
SPECIAL = [
    b".git",
    b".GIT",
    b".Git",
    b".git.",
    b".git ",
    b".git::$INDEX_ALLOCATION",
    b".gitmodules",
    b".GITMODULES",
]
SPECIAL += [
    b".gitattributes",
    b".gitignore",
    b".mailmap",
    b".gitfoo",
    b"git~1",
    b"GIT~1",
    b"git~2",
    b"gitmod~1",
]
SPECIAL += [
    b"gi7eba~1",
    b"GI7EBA~9",
    b"gi7d29~1",
    b"gi250a~1",
    b"maba30~1",
    b"mailma~1",
    b"a\\.git",
    b"a\\b\\.GIT\\c",
]
SPECIAL += [b"a\\git~1", b"%x", b"%", b"%%attributes", b"%.git"]
SPECIAL += [
    text.encode()
    for text in (".g\u200cit", "\u200c.git", ".gitmodule\u206as", "\ufeff.git", ".\u202egit")
]
SPECIAL += [
    b"gi7eb~10",
    b"gi7e~100",
    b"gi7~1000",
    b"gi~10000",
    b"g~100000",
    b"~1000000",
    b"gi7d~100",
    b"maba~100",
    b"m~100000",
]


@given(names | disguises)
def test_escaping_is_undone_exactly(name: bytes) -> None:
    assert unescape_name(escape_name(name)) == name


@given(st.lists(names | disguises, unique=True, max_size=8))
def test_different_names_stay_different(many: list[bytes]) -> None:
    assert len({escape_name(name) for name in many}) == len(many)


@pytest.mark.parametrize("name", PLAIN)
def test_ordinary_names_are_not_escaped(name: bytes) -> None:
    assert escape_name(name) == name


@pytest.mark.parametrize("name", SPECIAL)
def test_names_with_a_meaning_of_their_own_are_escaped(name: bytes) -> None:
    assert escape_name(name) == b"%" + name.replace(b"\\", b"\\%")


def commit_of(writer: ObjectWriter, tree: bytes) -> bytes:
    return writer.add_commit(Commit(tree, (), Identity("t", "t@t", 1), "x\n"))


HOSTILE = b'[submodule "x"]\n\tpath = -p\n\turl = -u\n'
LONG_LINE = b"a" * 4000 + b" text\n"


@pytest.mark.parametrize("kind", ["file", "symlink", "directory", "long line"])
def test_fsck_is_clean_over_every_special_name(
    store: Store, is_clean: Callable[[], None], kind: str
) -> None:
    with store.objects.writer() as writer:
        blob = writer.add("blob", LONG_LINE if kind == "long line" else HOSTILE)
        inner = writer.add_tree([Entry(escape_name(b"config"), MODE_FILE, blob)])
        mode = {"symlink": MODE_SYMLINK, "directory": MODE_DIRECTORY}.get(kind, MODE_FILE)
        oid = inner if kind == "directory" else blob
        tree = writer.add_tree([Entry(escape_name(name), mode, oid) for name in SPECIAL + PLAIN])
        commit = commit_of(writer, tree)
    store.refs.update(RefUpdate("refs/heads/x", commit))
    is_clean()
    assert {unescape_name(entry.name) for entry in store.objects.tree(tree)} == set(SPECIAL + PLAIN)


def test_fsck_is_clean_over_names_found_by_chance(
    store: Store, is_clean: Callable[[], None]
) -> None:
    trees: list[bytes] = []

    @given(st.lists(names | disguises, unique=True, min_size=1, max_size=40))
    def add(many: list[bytes]) -> None:
        usable = [name for name in many if name not in (b".", b"..")]
        blob = writer.add("blob", HOSTILE)
        trees.append(
            writer.add_tree([Entry(escape_name(name), MODE_SYMLINK, blob) for name in usable])
        )

    with store.objects.writer() as writer:
        add()
        unique = {oid.hex().encode(): oid for oid in trees if oid != EMPTY_TREE}
        top = writer.add_tree([Entry(name, MODE_DIRECTORY, oid) for name, oid in unique.items()])
        commit = commit_of(writer, top)
    store.refs.update(RefUpdate("refs/heads/x", commit))
    is_clean()


entries = st.lists(
    st.builds(
        Entry,
        names,
        st.sampled_from([MODE_DIRECTORY, MODE_FILE, MODE_EXECUTABLE, MODE_SYMLINK]),
        st.binary(min_size=20, max_size=20),
    ),
    unique_by=lambda entry: entry.name,
)


@pytest.mark.parametrize(
    "data",
    [
        b"1_0 a\0" + bytes(20),
        b"+644 a\0" + bytes(20),
        b"0o10 a\0" + bytes(20),
        b" 10 a\0" + bytes(20),
        b"100644 a\0" + bytes(5),
    ],
)
def test_an_invalid_tree_is_an_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"mode|truncated"):
        decode_tree(data)


@pytest.mark.parametrize(
    "line", [b"tree ", b"tree 12", b"parent " + b"1" * 42, b"tree " + b" " * 40]
)
def test_an_invalid_commit_is_an_error(line: bytes) -> None:
    with pytest.raises(ValueError, match="invalid object id"):
        decode_commit(line + b"\n\n")


@given(entries)
def test_trees_survive_encoding(many: list[Entry]) -> None:
    assert sorted(decode_tree(encode_tree(many))) == sorted(many)


def test_ids_and_order_are_gits(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    for name in ("a", "a.c", "a0", "a-", "b/x", "b.c", "b0"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    run = ["git", "-C", str(tmp_path)]
    subprocess.run([*run, "add", "-A"], check=True)
    theirs = subprocess.run(
        [*run, "write-tree"], capture_output=True, text=True, check=True
    ).stdout.strip()
    inner = encode_tree([Entry(b"x", MODE_FILE, object_id("blob", b"b/x"))])
    flat = [
        Entry(name, MODE_FILE, object_id("blob", name))
        for name in (b"a", b"a.c", b"a0", b"a-", b"b.c", b"b0")
    ]
    ours = encode_tree([*flat, Entry(b"b", MODE_DIRECTORY, object_id("tree", inner))])
    assert object_id("tree", ours).hex() == theirs


@given(
    st.lists(st.binary(min_size=20, max_size=20), max_size=3), st.text(st.characters(codec="utf-8"))
)
def test_commits_survive_encoding(parents: list[bytes], message: str) -> None:
    commit = Commit(
        EMPTY_TREE, tuple(parents), Identity("Jürgen <x", "a@b", 1_700_000_000), message
    )
    decoded = decode_commit(commit.encode())
    assert (decoded.tree, decoded.parents, decoded.message) == (
        commit.tree,
        commit.parents,
        commit.message,
    )
    assert decoded.author.seconds == commit.author.seconds
