from __future__ import annotations

import os
from pathlib import Path

import pytest

from prov.errors import StoreError
from prov.store.rawrefs import LineKind, is_name, line_kind, read_refs, stale_locks, write_packed
from prov.store.ref_update import LOCK_IS_DEAD

ONE, TWO = bytes.fromhex("11" * 20), bytes.fromhex("22" * 20)
HEADER = b"# pack-refs with: peeled fully-peeled sorted "
LINES = [
    (HEADER, LineKind.HEADER),
    (b"# another comment", LineKind.INVALID),
    (b"1" * 40 + b" refs/tags/a", LineKind.REF),
    (b"1" * 40 + b" refs/tags/\xff", LineKind.REF),
    (b"1" * 40 + b" refs/tags/a\x01", LineKind.INVALID),
    (b"1" * 40 + b" HEAD", LineKind.INVALID),
    (b"1" * 40 + b"\trefs/tags/a", LineKind.INVALID),
    (b"1" * 39 + b"x refs/tags/a", LineKind.INVALID),
    (b"^" + b"1" * 40, LineKind.PEELED),
    (b"^" + b"1" * 39, LineKind.INVALID),
    (b"", LineKind.INVALID),
]


@pytest.mark.parametrize(("line", "kind"), LINES)
def test_lines_of_packed_refs(line: bytes, kind: LineKind) -> None:
    assert line_kind(line) is kind


A, B = b"1" * 40 + b" refs/tags/a", b"2" * 40 + b" refs/tags/b"
PEELED = b"^" + b"3" * 40
# lines, expected names, expected faults
FILES = {
    "as git writes it": ([HEADER, A, PEELED, B, b""], "ab", []),
    "without a header": ([B, A, b""], "ab", []),
    "not sorted": ([HEADER, B, A, b""], "ab", ["is not sorted, although its header claims it"]),
    "a name twice": ([HEADER, A, A, b""], "a", ["is not sorted, although its header claims it"]),
    "a late header": ([A, HEADER, b""], "a", [f"line 2 is invalid: {HEADER!r}"]),
    "two peeled": ([A, PEELED, PEELED, b""], "a", [f"line 3 is invalid: {PEELED!r}"]),
    "peeled of nothing": ([PEELED, A, b""], "a", [f"line 1 is invalid: {PEELED!r}"]),
    "cut off": ([A, B], "ab", ["is truncated: the last line is incomplete"]),
}


@pytest.mark.parametrize("name", FILES)
def test_packed_refs(name: str, tmp_path: Path) -> None:
    lines, names, wrong = FILES[name]
    (tmp_path / "packed-refs").write_bytes(b"\n".join(lines))
    refs = read_refs(tmp_path)
    assert list(refs.names) == [f"refs/tags/{letter}" for letter in names]
    assert refs.packed_wrong == wrong


def test_the_name_of_a_damaged_line_is_reported(tmp_path: Path) -> None:
    (tmp_path / "packed-refs").write_bytes(b"x" * 40 + b" refs/tags/a\n")
    assert read_refs(tmp_path).broken == {
        "refs/tags/a": "its line in packed-refs does not contain an object id"
    }


# content of a loose ref's file, expected fault
OWN_FILES = [
    (b"1" * 40 + b"\n", ""),
    (b"ref: refs/heads/x\n", "is a symbolic ref"),
    (b"", "its file does not contain an object id"),
    (b"1" * 39, "its file does not contain an object id"),
]


@pytest.mark.parametrize(("content", "wrong"), OWN_FILES)
def test_a_refs_own_file_overrides_the_packed_one(
    content: bytes, wrong: str, tmp_path: Path
) -> None:
    (tmp_path / "packed-refs").write_bytes(b"2" * 40 + b" refs/tags/a\n")
    (tmp_path / "refs" / "tags").mkdir(parents=True)
    (tmp_path / "refs" / "tags" / "a").write_bytes(content)
    refs = read_refs(tmp_path)
    assert refs.broken.get("refs/tags/a", "") == wrong
    assert refs.names == ({} if wrong else {"refs/tags/a": ONE})


@pytest.mark.parametrize(
    ("name", "valid"),
    [
        ("refs/tags/a", True),
        ("refs/tags/é", True),
        ("refs/a", False),
        ("tags/a/b", False),
        ("refs/tags/\udcff", False),
        ("refs/tags/a.lock", False),
        ("refs/tags/.a", False),
        ("refs/tags/a..b", False),
        ("refs/tags/a/", False),
    ],
)
def test_names(name: str, valid: bool) -> None:
    assert is_name(name) is valid


def test_packed_refs_are_written_as_they_are_read(tmp_path: Path) -> None:
    refs = {"refs/tags/b": TWO, "refs/heads/a": ONE}
    write_packed(tmp_path, refs)
    result = read_refs(tmp_path)
    assert (result.names, result.packed_wrong) == (refs, [])


def test_a_lock_of_another_process_is_respected_until_it_is_stale(tmp_path: Path) -> None:
    lock = tmp_path / "packed-refs.lock"
    lock.touch()
    now = lock.stat().st_mtime
    assert stale_locks(tmp_path, now=now) == []
    with pytest.raises(StoreError, match="is held"):
        write_packed(tmp_path, {})
    assert stale_locks(tmp_path, now=now + LOCK_IS_DEAD + 1) == [lock]
    os.utime(lock, (now - LOCK_IS_DEAD - 1, now - LOCK_IS_DEAD - 1))
    write_packed(tmp_path, {"refs/tags/a": ONE})
    assert not lock.exists()
