from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from prov.worktree.exclude import Exclude
from prov.worktree.folders import Folder
from prov.worktree.scan import Faked, Scanner


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
    assert scan.folders[b""].decode().names == [b"a"]
    assert scan.folders[b"d"].decode().folders == [b"e"]
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
    top_state, folder_state = scan.folders[b""].decode(), scan.folders[b"d"].decode()
    [(mode, _, size, _, _)] = top_state.stats
    assert (mode, size) == (stat.S_IFCHR | 0o600, 259)
    assert top_state.owners == [(b"a", (1, 2))]
    assert scan.folders[b""].xattrs == {b"a": ((b"user.a", b"1"),)}
    assert folder_state.own[0] == stat.S_IFDIR | 0o700
    assert folder_state.owners == [(b".", (3, 4))]
    assert folder_state.stats[0][0] == (top / "d" / "b").stat().st_mode
