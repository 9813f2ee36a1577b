from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings

from prov.store.repository import Store
from prov.worktree import verify
from prov.worktree.attributes import Listing, Pair, TreeReader, at_path, read_listing
from prov.worktree.checkout import checkout
from prov.worktree.placer import EPOCH_NS, PrivatePlacer
from prov.worktree.pool import Pool
from prov.worktree.verify import What, differences, folder_states, seal_of
from tests.trees import AS_ROOT, Step, carry_out, in_order, steps
from tests.worktree.conftest import Work
from tests.worktree.test_checkout import scratch


@pytest.fixture
def pair(work: Work, tmp_path: Path) -> Pair:
    top = tmp_path / "package"
    (top / "usr" / "lib" / "empty").mkdir(parents=True)
    (top / "usr" / "lib" / "l.so").write_text("a library")
    (top / "usr" / "lib" / "same.so").write_text("a library")
    (top / "usr" / "lib" / "l.so.1").symlink_to("l.so")
    (top / "usr" / "lib" / "none").touch()
    (top / "usr" / "tool").write_text("#!")
    (top / "usr" / "tool").chmod(0o4755)
    os.link(top / "usr" / "tool", top / "usr" / "alias")
    (top / "usr" / "closed").mkdir(mode=0o700)
    (top / "usr" / "closed" / "f").write_text("f")
    return work.output(top)


@pytest.fixture(params=["links", "copies"])
def composed(request: pytest.FixtureRequest, store: Store, pair: Pair, tmp_path: Path) -> Path:
    pool = Pool(store.cache / "pool", store.objects)
    placer = (
        pool if request.param == "links" else PrivatePlacer(store.objects, sealed=True, shares=True)
    )
    checkout(store.objects, tmp_path / "top", pair, placer=placer)
    return tmp_path / "top"


def keep_date(path: Path, change: Callable[[Path], object]) -> None:
    before = path.stat().st_mtime_ns
    change(path)
    os.utime(path, ns=(before, before))


def swap(path: Path, make: Callable[[Path], object]) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
    make(path)


Expected = tuple[str, What, str]
CLOCK = 0.02
"""Seconds after which a file system with coarse timestamps records a different one."""
LIB = "usr/lib/l.so"
TAMPERING: dict[str, tuple[Callable[[Path], object], list[Expected]]] = {
    "written to": (
        lambda top: (top / "usr/lib/none").write_text("four"),
        [("usr/lib/none", "changed", "was written to, has 4 bytes now")],
    ),
    "dated": (
        lambda top: os.utime(top / "usr/lib/none"),
        [("usr/lib/none", "changed", "was written to, has 0")],
    ),
    "stripped": (
        lambda top: keep_date(top / "usr/lib/none", lambda path: os.truncate(path, 3)),
        [("usr/lib/none", "changed", "was written to, has 3 bytes now")],
    ),
    "replaced": (
        lambda top: swap(top / LIB, lambda path: path.write_text("a library")),
        [(LIB, "changed", "was written to, has 9 bytes now")],
    ),
    "mode": (
        lambda top: (top / "usr/lib/none").chmod(0o755),
        [("usr/lib/none", "changed", "its mode was 644, is 755")],
    ),
    "setuid gone": (
        lambda top: swap(
            top / "usr/tool",
            in_order(lambda path: path.write_text("#!"), lambda path: path.chmod(0o755)),
        ),
        [("usr/tool", "changed", "its mode was 4755, is 755")],
    ),
    "file to folder": (
        lambda top: swap(top / LIB, lambda path: path.mkdir()),
        [(LIB, "changed", "has a different type")],
    ),
    "file to link": (
        lambda top: swap(top / LIB, lambda path: path.symlink_to("same.so")),
        [(LIB, "changed", "has a different type")],
    ),
    "folder to link": (
        in_order(
            lambda top: (top / "usr/lib").rename(top / "usr/lib64"),
            lambda top: (top / "usr/lib").symlink_to("lib64"),
        ),
        [("usr/lib", "changed", "has a different type"), ("usr/lib64", "added", "was added")],
    ),
    "folder to file": (
        lambda top: swap(top / "usr/lib/empty", lambda path: path.touch()),
        [("usr/lib/empty", "changed", "has a different type")],
    ),
    "link elsewhere": (
        lambda top: swap(top / "usr/lib/l.so.1", lambda path: path.symlink_to("elsewhere")),
        [("usr/lib/l.so.1", "changed", "was replaced")],
    ),
    "link to file": (
        lambda top: swap(top / "usr/lib/l.so.1", lambda path: path.write_text("a library")),
        [("usr/lib/l.so.1", "changed", "has a different type")],
    ),
    "folder's mode": (
        lambda top: (top / "usr/closed").chmod(0o755),
        [("usr/closed", "changed", "its mode was 700, is 755")],
    ),
    "deleted": (lambda top: (top / LIB).unlink(), [(LIB, "deleted", "")]),
    "a link gone": (
        lambda top: (top / "usr/lib/l.so.1").unlink(),
        [("usr/lib/l.so.1", "deleted", "")],
    ),
    "a folder gone": (
        lambda top: shutil.rmtree(top / "usr/closed"),
        [("usr/closed", "deleted", "")],
    ),
    "moved": (
        lambda top: (top / LIB).rename(top / "usr/lib/l.so.2"),
        [(LIB, "deleted", ""), ("usr/lib/l.so.2", "added", "was added")],
    ),
    "added": (
        lambda top: (top / "usr/lib/empty/f").touch(),
        [("usr/lib/empty/f", "added", "was added")],
    ),
    "a folder added": (
        lambda top: (top / "new/deep").mkdir(parents=True),
        [("new", "added", "was added")],
    ),
    "all gone": (lambda top: shutil.rmtree(top / "usr"), [("usr", "deleted", "")]),
    "several": (
        in_order(
            lambda top: (top / "z").touch(),
            lambda top: (top / "usr/closed/f").unlink(),
            lambda top: (top / "usr/closed").chmod(0o711),
        ),
        [
            ("usr/closed", "changed", "700, is 711"),
            ("usr/closed/f", "deleted", ""),
            ("z", "added", "was added"),
        ],
    ),
}


def test_a_new_sysroot_is_unchanged(store: Store, pair: Pair, composed: Path) -> None:
    assert differences(store.objects, composed, pair) == []


@pytest.fixture(params=[verify.SHARE_FROM, 1], ids=["one process", "two processes"])
def share_from(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, two_processors: None
) -> int:
    """Set the number of pending folders from which two processes share a comparison."""
    monkeypatch.setattr(verify, "SHARE_FROM", request.param)
    count: int = request.param
    return count


@pytest.mark.usefixtures("share_from")
@pytest.mark.parametrize("how", TAMPERING)
def test_changes_are_detected_and_named(store: Store, pair: Pair, composed: Path, how: str) -> None:
    tamper, expected = TAMPERING[how]
    tamper(composed)
    found = differences(store.objects, composed, pair)
    assert [(os.fsdecode(each.path), each.what) for each in found] == [
        mismatch[:2] for mismatch in expected
    ]
    for each, (path, what, detail) in zip(found, expected, strict=True):
        assert detail in each.detail
        assert path in str(each)
        assert (each.detail or what) in str(each)
        assert each.placed == (None if what == "added" else at_path(store.objects, pair, each.path))
        assert (each.changed_at > 0) == (what != "deleted")


# the folders' seal


FOLDERS = {b"usr", b"usr/lib", b"usr/lib/empty", b"usr/closed"}


def folders_seal(directory: Path, folders: Iterable[bytes]) -> bytes:
    """Return the seal of a directory and its folders, or nothing if one is missing."""
    try:
        return seal_of(folder_states(directory, [b"", *folders]))
    except OSError:
        return b""


UNSEEN = {"written to", "dated", "stripped", "mode"}
"""Changes that do not change folders."""


@pytest.mark.parametrize("how", TAMPERING)
def test_added_and_deleted_entries_change_the_seal(composed: Path, how: str) -> None:
    before = folders_seal(composed, FOLDERS)
    assert before == folders_seal(composed, sorted(FOLDERS)) != b""
    time.sleep(CLOCK)
    TAMPERING[how][0](composed)
    assert (folders_seal(composed, FOLDERS) == before) == (how in UNSEEN)


def put_back(path: Path) -> None:
    """Add a file and restore the folder's mtime."""
    before = path.stat().st_mtime_ns
    (path / "added").touch()
    os.utime(path, ns=(before, before))


def by_a_copy(path: Path) -> None:
    shutil.copytree(path, path.with_name("copy"), symlinks=True)
    path.rename(path.with_name("before"))
    path.with_name("copy").rename(path)


HIDDEN: dict[str, Callable[[Path], object]] = {
    "dates put back": put_back,
    "a copy of it": by_a_copy,
    "a link to it": in_order(
        lambda path: path.rename(path.with_name("before")),
        lambda path: path.symlink_to("before"),
    ),
    "gone": lambda path: shutil.rmtree(path),
}


@pytest.mark.usefixtures("share_from")
def test_a_missing_directory_is_a_difference(store: Store, pair: Pair, composed: Path) -> None:
    shutil.rmtree(composed)
    [found] = differences(store.objects, composed, pair)
    assert (found.path, found.what) == (b".", "changed")
    assert found.detail == "cannot be read: No such file or directory"


@pytest.mark.usefixtures("share_from")
def test_a_folder_that_vanishes_is_deleted(
    store: Store, pair: Pair, composed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reading(reader: TreeReader, folder: Pair) -> Listing:
        listing = read_listing(reader, folder)
        if b"l.so" in listing:
            shutil.rmtree(composed / "usr/lib")
        return listing

    monkeypatch.setattr(verify, "read_listing", reading)
    found = differences(store.objects, composed, pair)
    assert (b"usr/lib", "deleted") in [(each.path, each.what) for each in found]


@pytest.mark.parametrize("how", HIDDEN)
@pytest.mark.parametrize("folder", [".", *map(os.fsdecode, sorted(FOLDERS))])
def test_a_change_to_a_folder_cannot_be_hidden(composed: Path, folder: str, how: str) -> None:
    before = folders_seal(composed, FOLDERS)
    time.sleep(CLOCK)
    HIDDEN[how](composed / folder)
    assert folders_seal(composed, FOLDERS) != before


# other differences


def test_a_write_through_one_link_is_found_at_every_path(
    store: Store, pair: Pair, tmp_path: Path
) -> None:
    pool = Pool(store.cache / "pool", store.objects)
    for name in ("one", "two"):
        checkout(store.objects, tmp_path / name, pair, placer=pool)
    (tmp_path / "one" / "usr" / "tool").write_text("#! changed")
    found = [(each.path, each.what) for each in differences(store.objects, tmp_path / "two", pair)]
    assert found == [(b"usr/alias", "changed"), (b"usr/tool", "changed")]


@pytest.mark.skipif(not AS_ROOT, reason="only root can give a file away")
def test_another_owner_is_named(store: Store, pair: Pair, composed: Path) -> None:
    os.chown(composed / LIB, 1, -1)
    assert {each.detail for each in differences(store.objects, composed, pair)} == {
        "its owner is 1"
    }


def test_a_link_is_not_followed(store: Store, pair: Pair, composed: Path) -> None:
    """The link points to the same content."""
    (composed / "usr").rename(composed.parent / "elsewhere")
    (composed / "usr").symlink_to(composed.parent / "elsewhere")
    [found] = differences(store.objects, composed, pair)
    assert (found.path, found.what, found.detail) == (b"usr", "changed", "has a different type")


@settings(max_examples=40)
@given(made=steps(changes=False, max_size=20))
def test_a_new_checkout_has_no_differences(work: Work, tmp_path: Path, made: list[Step]) -> None:
    with scratch(tmp_path) as here:
        carry_out(here / "a", made)
        pair = work.output(here / "a")
        for name, placer in (
            ("links", Pool(here / "pool", work.store.objects)),
            ("copies", PrivatePlacer(work.store.objects, sealed=True, shares=True)),
        ):
            checkout(work.store.objects, here / name, pair, placer=placer)
            assert differences(work.store.objects, here / name, pair) == []


@settings(max_examples=40)
@given(made=steps(changes=False, max_size=20), changed=steps(changes=True))
def test_differences_match_another_capture(
    work: Work, tmp_path: Path, made: list[Step], changed: list[Step]
) -> None:
    """Any change to files and links, and the changes to folders that scripts or tasks can make."""
    with scratch(tmp_path) as here:
        carry_out(here / "a", made)
        pair = work.output(here / "a")
        checkout(
            work.store.objects,
            here / "b",
            pair,
            placer=PrivatePlacer(work.store.objects, sealed=True, shares=True),
        )
        carry_out(here / "b", [step for step in changed if step.what not in ("hardlink", "date")])
        reported = {each.path for each in differences(work.store.objects, here / "b", pair)}
        after = work.output(here / "b")
        for path in (
            path for path in paths(here / "a") | paths(here / "b") if not is_below(path, reported)
        ):
            before, now = (at_path(work.store.objects, each, path) for each in (pair, after))
            assert before is not None
            assert now is not None
            if stat.S_ISREG(before.mode) or stat.S_ISLNK(before.mode):
                assert (before.mode, before.oid) == (now.mode, now.oid)
            assert stat.S_IFMT(before.mode) == stat.S_IFMT(now.mode)


def paths(top: Path) -> set[bytes]:
    root = os.fsencode(top)
    return {
        os.path.join(folder, name)[len(root) + 1 :]
        for folder, folders, files in os.walk(root)
        for name in (*folders, *files)
    }


def is_below(path: bytes, tops: set[bytes]) -> bool:
    return any(path == top or path.startswith(top + b"/") for top in tops)


def test_a_link_with_a_different_mtime_was_replaced(
    store: Store, pair: Pair, composed: Path
) -> None:
    link = composed / "usr/lib/l.so.1"
    assert link.lstat().st_mtime_ns == EPOCH_NS
    os.utime(link, ns=(7, 7), follow_symlinks=False)
    [found] = differences(store.objects, composed, pair)
    assert (found.path, found.detail) == (b"usr/lib/l.so.1", "was replaced")
