from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from prov.store.objects import MODE_FILE
from prov.worktree.exclude import Exclude
from prov.worktree.scan import Faked, Folder, FolderChange, ScannedFile, Scanner, change_of

FILE = ScannedFile(b"f", MODE_FILE, 7, 3, 11, 12)
BEFORE = Folder(
    own=(0o40755, 5),
    entries=(FILE,),
    folders=(b"d",),
    oids=(b"x" * 20,),
    links=((1, 7, b"f"),),
    xattrs={b"f": ((b"user.a", b"1"),)},
    owners={},
)
CHANGES = {
    "nothing": ({}, FolderChange.NONE),
    "entries as plain tuples": ({"entries": (tuple(FILE),)}, FolderChange.NONE),
    "attributes not read yet": ({"xattrs": {}}, FolderChange.NONE),
    "a file's mtime": ({"entries": (FILE._replace(mtime=12),)}, FolderChange.ENTRIES),
    "another file": ({"entries": (FILE, FILE._replace(name=b"g"))}, FolderChange.ENTRIES),
    "its own mode": ({"own": (0o40700, 5)}, FolderChange.ATTRIBUTES),
    "its own mtime": ({"own": (0o40755, 6)}, FolderChange.ATTRIBUTES),
    "another folder": ({"folders": (b"d", b"e")}, FolderChange.ATTRIBUTES),
    "the device's number": ({"links": ((2, 7, b"f"),)}, FolderChange.ATTRIBUTES),
    "an owner": ({"owners": {b"f": (1, 1)}}, FolderChange.ATTRIBUTES),
    "a faked xattr": ({"xattrs": {b"f": ((b"user.a", b"2"),)}}, FolderChange.ATTRIBUTES),
}


@pytest.mark.parametrize("name", CHANGES)
def test_how_a_folder_differs_from_the_last_capture(name: str) -> None:
    fields, change = CHANGES[name]
    state = BEFORE._replace(**fields)  # type: ignore[arg-type]
    assert change_of(BEFORE, state) is change


def test_a_folder_not_in_the_last_capture_is_read() -> None:
    assert change_of(None, BEFORE) is FolderChange.ENTRIES


@pytest.fixture
def top(tmp_path: Path) -> Path:
    (tmp_path / "d" / "e").mkdir(parents=True)
    (tmp_path / "a").write_text("a")
    (tmp_path / "d" / "b").write_text("bb")
    return tmp_path


def scanner(top: Path, before: dict[bytes, Folder] | None = None, *patterns: str) -> Scanner:
    return Scanner(os.fsencode(top), before or {}, Exclude(patterns))


def test_a_scan_lists_parents_first(top: Path) -> None:
    scan = scanner(top).scan()
    assert list(scan.folders) == [b"", b"d", b"d/e"]
    assert [entry.name for entry in scan.folders[b""].entries] == [b"a"]
    assert scan.folders[b"d"].folders == (b"e",)
    assert not scan.unchanged


def test_excluded_entries_are_not_listed(top: Path) -> None:
    assert list(scanner(top, None, "/d/").scan().folders) == [b""]


def test_only_a_folder_that_changed_is_scanned_as_changed(top: Path) -> None:
    before = scanner(top).scan().folders
    (top / "d" / "b").write_text("longer")
    scan = scanner(top, before).scan()
    assert scan.unchanged == {b"", b"d/e"}
    assert scan.folders[b""] is before[b""]


def test_what_fakeroot_reports_overrides_the_disk(top: Path) -> None:
    inode = (top / "a").stat().st_ino
    folder_inode = (top / "d").stat().st_ino
    faked = {
        b"a": Faked(inode, stat.S_IFCHR | 0o600, (1, 2), rdev=259, xattrs=((b"user.a", b"1"),)),
        b"d": Faked(folder_inode, stat.S_IFDIR | 0o700, (3, 4)),
        b"d/b": Faked(inode, stat.S_IFREG | 0o4755, (5, 6)),  # of an earlier file at this path
    }
    scan = Scanner(os.fsencode(top), {}, Exclude(()), faked=faked).scan()
    [device] = scan.folders[b""].entries
    assert (device.mode, device.size) == (stat.S_IFCHR | 0o600, 259)
    assert scan.folders[b""].owners == {b"a": (1, 2)}
    assert scan.folders[b""].xattrs == {b"a": ((b"user.a", b"1"),)}
    assert scan.folders[b"d"].own[0] == stat.S_IFDIR | 0o700
    assert scan.folders[b"d"].owners == {b".": (3, 4)}
    assert scan.folders[b"d"].entries[0].mode == (top / "d" / "b").stat().st_mode
