from __future__ import annotations

import marshal
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from prov.errors import CaptureError
from prov.store.objects import MODE_FILE
from prov.store.repository import Store
from prov.worktree import reading, scan
from prov.worktree.attributes import read_listing
from prov.worktree.exclude import DEFAULT, Exclude
from prov.worktree.folders import Folder, FolderState
from tests.worktree.conftest import Work
from tests.worktree.test_checkout import open_folder

__all__ = ["open_folder"]  # a fixture
from tests.worktree.conftest import SETTLED, tree_of_files

FAKED_MODES = {"null": 0o020666, "su": 0o104755, "spool": 0o042775, "link": 0o120777}


def faked(top: Path) -> dict[bytes, scan.Faked]:
    """Return fakeroot's attributes: a device, a setuid file, owners of a file, link and folder."""
    (top / "spool").mkdir()
    (top / "null").write_text("")
    (top / "su").write_text("#!/bin/sh\n")
    (top / "spool/plain").write_text("plain\n")
    (top / "link").symlink_to("su")
    owners = {"null": (0, 0), "su": (0, 5), "spool": (1234, 5678), "link": (7, 7)}
    rdev = {"null": os.makedev(1, 3)}
    return {
        name.encode(): scan.Faked(
            (top / name).lstat().st_ino, mode, owners[name], rdev.get(name, 0)
        )
        for name, mode in FAKED_MODES.items()
    }


def test_fakeroot_overrides_the_disk(work: Work, top: Path, memory: Path) -> None:
    fakes = faked(top)
    first = work.capture(top, memory=memory, faked=fakes)
    listing = read_listing(work.store.objects, first.pair)
    assert {
        name: (node.mode, node.owner, node.rdev) for name, node in listing.items() if name != b"."
    } == {
        b"null": (0o020666, (0, 0), (1, 3)),
        b"su": (0o104755, (0, 5), None),
        b"link": (0o120777, (7, 7), None),
        b"spool": (0o040755, (0, 0), None),  # its own line is in it
    }
    own = read_listing(work.store.objects, listing[b"spool"].pair)[b"."]
    assert (own.mode, own.owner) == (0o042775, (1234, 5678))
    again = work.capture(top, memory=memory, faked=fakes)
    assert again.pair == first.pair
    # a new file of that name has a different owner
    (top / "new").write_text("#!/bin/sh\n")
    (top / "new").rename(top / "su")
    after = read_listing(work.store.objects, work.capture(top, memory=memory, faked=fakes).pair)
    assert (after[b"su"].mode, after[b"su"].owner) == (MODE_FILE, (0, 0))
    assert after[b"null"].mode == 0o020666


def test_fakeroot_overrides_the_disk_for_a_large_file(
    work: Work, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "STREAM_FROM", 1)
    listing = read_listing(work.store.objects, work.capture(top, faked=faked(top)).pair)
    assert listing[b"su"].mode == 0o104755


def test_owners_are_restored_for_root(work: Work, top: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may give files away")
    fakes = faked(top)
    pair = work.capture(top, faked=fakes).pair
    work.checkout(tmp_path / "out", pair)
    for name, (_, mode, owner, rdev, _) in fakes.items():
        state = (tmp_path / "out" / name.decode()).lstat()
        assert (state.st_mode, (state.st_uid, state.st_gid), state.st_rdev) == (mode, owner, rdev)
    assert work.capture(tmp_path / "out").pair.tree == pair.tree


def test_an_unchanged_directory_is_not_read(work: Work, top: Path, memory: Path) -> None:
    tree_of_files(top, 50)
    time.sleep(SETTLED)
    first = work.capture(top, memory=memory)
    assert first.read == 50
    again = work.capture(top, memory=memory)
    assert (again.read, again.pair) == (0, first.pair)


def test_a_capture_costs_one_stat_for_each_entry_and_decodes_what_changed(
    work: Work, top: Path, memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        (top / f"d{number}" / "e").mkdir(parents=True)
        (top / f"d{number}" / "e" / "f").write_text(str(number))
    time.sleep(SETTLED)
    work.capture(top, memory=memory)
    stats, decoded = [0], [0]
    lstat, decode = os.lstat, Folder.decode

    def counted_lstat(path: Any) -> os.stat_result:
        stats[0] += isinstance(path, bytes) and path.startswith(os.fsencode(top))
        return lstat(path)

    def counted_decode(folder: Folder) -> FolderState:
        decoded[0] += 1
        return decode(folder)

    monkeypatch.setattr(os, "lstat", counted_lstat)
    monkeypatch.setattr(Folder, "decode", counted_decode)
    assert work.capture(top, memory=memory).as_remembered
    assert (stats[0], decoded[0]) == (60, 0)
    (top / "d7" / "e" / "f").write_text("changed")
    assert work.capture(top, memory=memory).read == 1
    # its folder to compare (as it was, twice), read, settle and write it; two above to write them
    assert (stats[0], decoded[0]) == (120, 7)


def test_only_changed_files_of_a_directory_are_read(work: Work, top: Path, memory: Path) -> None:
    tree_of_files(top, 50)
    time.sleep(SETTLED)
    work.capture(top, memory=memory)
    (top / "d3" / "f3").write_text("changed\n")
    (top / "d1" / "new").write_text("new\n")
    os.utime(top / "d0" / "f0", ns=(1, 1))
    os.rename(top / "d2", top / "renamed")
    found = work.capture(top, memory=memory)
    in_renamed = len(list((top / "renamed").iterdir()))
    assert found.read == 3 + in_renamed
    assert found.pair == work.capture(top).pair


GARBAGE = [
    b"",
    b"x",
    marshal.dumps(None),
    marshal.dumps((1, 2)),
    marshal.dumps((99, (b"", None), {})),
    b"\xff" * 100,
]


@pytest.mark.parametrize("damage", [None, *GARBAGE, "cut"], ids=repr)
def test_a_missing_or_damaged_cache_changes_nothing(
    work: Work, top: Path, memory: Path, damage: bytes | str | None
) -> None:
    tree_of_files(top, 10)
    first = work.capture(top, memory=memory)
    if damage is None:
        memory.unlink()
    else:
        memory.write_bytes(memory.read_bytes()[:200] if isinstance(damage, str) else damage)
    again = work.capture(top, memory=memory)
    assert (again.read, again.pair) == (10, first.pair)


def test_the_cache_of_another_store_is_not_used(
    work: Work, top: Path, memory: Path, tmp_path: Path
) -> None:
    tree_of_files(top, 10)
    time.sleep(SETTLED)
    work.capture(top, memory=memory)
    other = Work(Store.create(tmp_path / "other.git"))
    assert other.capture(top, memory=memory).read == 10


def test_a_live_directory_lists_no_folder_that_vanished(
    work: Work, top: Path, memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (top / "DEBIAN").mkdir()
    (top / "text").write_text("text")
    work.capture(top, memory=memory)
    plain = os.listdir

    def vanishing(path: Any) -> list[Any]:
        if isinstance(path, bytes) and path.endswith(b"/DEBIAN"):
            raise FileNotFoundError(2, "No such file or directory")
        return plain(path)

    monkeypatch.setattr(os, "listdir", vanishing)
    with pytest.raises(CaptureError):
        work.capture(top, memory=memory)
    found = work.capture(top, memory=memory, live=True)
    assert set(read_listing(work.store.objects, found.pair)) == {b".", b"text"}


# patterns, expected excluded paths of ALL; the test also compares with git
ALL = [
    "a.o",
    "keep.o",
    "src/a.c",
    "src/b.o",
    "src/temp/x",
    "temp/x",
    "temp/y",
    "recipe-sysroot/usr/f",
    "d e/f",
    "x/y/z",
]


PATTERNS = [
    (),
    DEFAULT,
    ("*.o",),
    ("*.o", "!keep.o"),
    ("temp/",),
    ("/temp/",),
    ("/temp/*", "!/temp/y"),
    ("/src/temp/", "/x/y/"),
    ("/temp/", "!/temp/"),
    ("src/**", "!src/a.c"),
    ("**/temp",),
    ("d e/",),
    ("/x/*/z",),
    ("# comment", "", "\\#x"),
    ("*",),
]


@pytest.mark.parametrize("patterns", PATTERNS, ids=" ".join)
def test_patterns_exclude_what_git_ignores(
    work: Work, top: Path, patterns: tuple[str, ...]
) -> None:
    for name in ALL:
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(name)
    repository = top.parent / "repository"
    shutil.copytree(top, repository)
    (top.parent / "patterns").write_text("".join(f"{pattern}\n" for pattern in patterns))
    subprocess.run(["git", "init", "-q", str(repository)], check=True)
    command = [
        "git",
        "-C",
        str(repository),
        "ls-files",
        "-z",
        "--others",
        f"--exclude-from={top.parent / 'patterns'}",
    ]
    kept = set(
        subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
    ) - {""}
    work.checkout(top.parent / "back", work.capture(top, exclude=patterns).pair)
    found = {
        str(path.relative_to(top.parent / "back"))
        for path in (top.parent / "back").rglob("*")
        if path.is_file()
    }
    assert found == kept


def test_a_changed_pattern_overrides_the_cache(work: Work, top: Path, memory: Path) -> None:
    for name in ALL:
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(name)
    time.sleep(SETTLED)
    for patterns in PATTERNS:
        assert (
            work.capture(top, memory=memory, exclude=patterns).pair
            == work.capture(top, exclude=patterns).pair
        ), patterns


def test_the_default_excludes_sysroots_and_logs(work: Work, top: Path) -> None:
    for name in ("recipe-sysroot", "recipe-sysroot-native", "temp", "sub"):
        (top / name / "temp").mkdir(parents=True)
    pair = work.capture(top, exclude=Exclude().patterns).pair
    assert sorted(read_listing(work.store.objects, pair)) == [b".", b"sub"]
