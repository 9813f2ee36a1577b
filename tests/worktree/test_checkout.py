from __future__ import annotations

import os
import shutil
import socket
import stat
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings

from prov.errors import CheckoutError, StoreError
from prov.files import remove_tree
from prov.processes import decode_answer, start_child
from prov.store.objects import EMPTY_TREE, MODE_DIRECTORY, MODE_FILE, Entry
from prov.store.repository import Store
from prov.worktree.attributes import FileNode, Pair, attribute_line, walk, write_listing
from prov.worktree.checkout import FolderPlan, plan_folder
from tests.trees import AS_ROOT, Step, carry_out, describe, in_order, steps
from tests.worktree.conftest import Work

EXAMPLES = 60


@contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(dir=parent))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@settings(max_examples=EXAMPLES)
@given(made=steps(changes=False, max_size=24))
def test_a_captured_directory_is_restored_exactly(
    work: Work, tmp_path: Path, made: list[Step]
) -> None:
    with scratch(tmp_path) as here:
        carry_out(here / "a", made)
        pair = work.capture(here / "a").pair
        work.checkout(here / "b", pair)
        assert describe(here / "b") == describe(here / "a")
        assert work.capture(here / "b").pair == pair


@settings(max_examples=EXAMPLES)
@given(made=steps(changes=False), changed=steps(changes=True))
def test_a_difference_applied_equals_a_fresh_checkout(
    work: Work, tmp_path: Path, made: list[Step], changed: list[Step]
) -> None:
    with scratch(tmp_path) as here:
        carry_out(here / "a", made)
        before = work.capture(here / "a").pair
        carry_out(here / "a", changed)
        after = work.capture(here / "a").pair
        for start, end in ((before, after), (after, before)):
            work.checkout(here / "delta", start)
            work.checkout(here / "delta", end, now=start)
            work.checkout(here / "fresh", end)
            assert describe(here / "delta") == describe(here / "fresh")
            assert work.capture(here / "delta").pair == end
            shutil.rmtree(here / "delta")
            shutil.rmtree(here / "fresh")


@settings(max_examples=20)
@given(first=steps(changes=False, max_size=20), second=steps(changes=False, max_size=20))
def test_any_directory_can_follow_any_other(
    work: Work, tmp_path: Path, first: list[Step], second: list[Step]
) -> None:
    with scratch(tmp_path) as here:
        carry_out(here / "a", first)
        carry_out(here / "b", second)
        before, after = work.capture(here / "a").pair, work.capture(here / "b").pair
        work.checkout(here / "a", after, now=before)
        assert describe(here / "a") == describe(here / "b")


def test_fsck_is_clean_over_captured_directories(
    work: Work, tmp_path: Path, is_clean: Callable[[], None]
) -> None:
    @settings(max_examples=40)
    @given(made=steps(changes=False, max_size=24))
    def record(made: list[Step]) -> None:
        with scratch(tmp_path) as here:
            carry_out(here, made)
            work.capture(here)

    record()
    is_clean()


def test_every_kind_of_entry_is_restored(work: Work, tmp_path: Path) -> None:
    top = tmp_path / "a"
    (top / "empty" / "er").mkdir(parents=True)
    (top / ".git" / "refs").mkdir(parents=True)
    (top / ".git" / "HEAD").write_text("ref: x\n")
    (top / "sub").mkdir()
    (top / "sub" / "tool").write_bytes(b"#!")
    os.chmod(top / "sub" / "tool", 0o4755)
    os.link(top / "sub" / "tool", top / "alias")
    os.symlink("nowhere/at/all", top / "dangling")
    os.symlink(b"\xff", os.fsencode(top) + b"/odd\xfe")
    os.link(top / "dangling", top / "sub" / "same link", follow_symlinks=False)
    os.mkfifo(top / "fifo", 0o640)
    os.link(top / "fifo", top / "sub" / "fifo")
    if AS_ROOT:
        os.mknod(top / "null", 0o20666, os.makedev(1, 3))
        os.mknod(top / "loop", 0o60660, os.makedev(7, 1000))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(top / "socket"))
    os.chmod(top / "empty", 0o2770)
    os.utime(top / "empty", ns=(1, 987_654_321_123_456_789))
    pair = work.capture(top).pair
    work.checkout(tmp_path / "b", pair)
    assert describe(tmp_path / "b") == describe(top)


def test_files_placed_are_counted_and_nothing_is_done_twice(work: Work, tmp_path: Path) -> None:
    (tmp_path / "a" / "d").mkdir(parents=True)
    for number in range(10):
        (tmp_path / "a" / "d" / str(number)).write_text(str(number))
    first = work.capture(tmp_path / "a").pair
    assert work.checkout(tmp_path / "b", first) == 10
    assert work.checkout(tmp_path / "b", first, now=first) == 0
    inodes = {path.name: path.stat().st_ino for path in (tmp_path / "b" / "d").iterdir()}
    (tmp_path / "a" / "d" / "3").write_text("three")
    assert work.checkout(tmp_path / "b", work.capture(tmp_path / "a").pair, now=first) == 1
    assert {
        name
        for name, inode in inodes.items()
        if (tmp_path / "b" / "d" / name).stat().st_ino == inode
    } >= set("012456789")


def test_a_changed_date_moves_no_content(work: Work, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "f").write_text("x")
    first = work.capture(tmp_path / "a").pair
    os.utime(tmp_path / "a" / "f", ns=(5, 5))
    second = work.capture(tmp_path / "a").pair
    work.checkout(tmp_path / "b", first)
    assert work.checkout(tmp_path / "b", second, now=first) == 0
    assert (tmp_path / "b" / "f").stat().st_mtime_ns == 5


def test_excluded_entries_are_unchanged(work: Work, tmp_path: Path) -> None:
    (tmp_path / "a" / "temp").mkdir(parents=True)
    (tmp_path / "a" / "f").write_text("x")
    first = work.capture(tmp_path / "a", exclude=("/temp/",)).pair
    (tmp_path / "a" / "temp" / "log").write_text("kept")
    (tmp_path / "b").mkdir()
    work.checkout(tmp_path / "a", work.capture(tmp_path / "b").pair, now=first)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["temp"]
    assert (tmp_path / "a" / "temp" / "log").read_text() == "kept"


def crafted(store: Store, name: bytes, *, inside: bytes | None = None) -> Pair:
    with store.objects.writer() as writer:
        blob = writer.add("blob", b"evil")
        tree = writer.add("tree", b"100644 " + name + b"\0" + blob)
        if inside is not None:
            tree = writer.add_tree([Entry(inside, MODE_DIRECTORY, tree)])
    return Pair(tree, None)


@pytest.mark.parametrize(
    "name", [b"..", b"../x", b"a/b", b"%..", b"%.", b"%", b"", b"/etc/x", b"%/x"]
)
@pytest.mark.parametrize("inside", [None, b"d"])
def test_names_that_lead_outside_are_refused(
    work: Work, tmp_path: Path, name: bytes, inside: bytes | None
) -> None:
    with pytest.raises((CheckoutError, StoreError), match="invalid name"):
        work.checkout(tmp_path / "top" / "b", crafted(work.store, name, inside=inside))
    assert [path for path in (tmp_path / "top").rglob("*") if path.is_file()] == []


def with_attributes(store: Store, lines: bytes, content: list[Entry]) -> Pair:
    with store.objects.writer() as writer:
        blob = writer.add("blob", lines)
        return Pair(
            writer.add_tree(content), writer.add_tree([Entry(b"%attributes", MODE_FILE, blob)])
        )


@pytest.mark.parametrize("name", [b"../evil", b"/tmp/evil", b"a/evil", b".."])
def test_attributes_can_not_lead_outside_either(work: Work, tmp_path: Path, name: bytes) -> None:
    line = attribute_line(name, FileNode(0o10644), mtimes=False)
    with pytest.raises(CheckoutError, match="invalid name"):
        work.checkout(tmp_path / "top" / "b", with_attributes(work.store, line, []))
    assert not (tmp_path / "top" / "evil").exists()


def test_a_link_on_the_way_is_not_followed(work: Work, tmp_path: Path) -> None:
    (tmp_path / "a" / "d").mkdir(parents=True)
    (tmp_path / "a" / "d" / "f").write_text("x")
    (tmp_path / "outside").mkdir()
    first = work.capture(tmp_path / "a").pair
    work.checkout(tmp_path / "b", first)
    (tmp_path / "a" / "d" / "g").write_text("y")
    shutil.rmtree(tmp_path / "b" / "d")
    os.symlink(tmp_path / "outside", tmp_path / "b" / "d")
    with pytest.raises(CheckoutError):
        work.checkout(tmp_path / "b", work.capture(tmp_path / "a").pair, now=first)
    assert list((tmp_path / "outside").iterdir()) == []


def test_something_in_the_way_is_named_and_kept(work: Work, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "f").write_text("x")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "f").write_text("precious")
    with pytest.raises(CheckoutError, match=r"b/?.*f"):
        work.checkout(tmp_path / "b", work.capture(tmp_path / "a").pair)
    assert (tmp_path / "b" / "f").read_text() == "precious"


XATTRS = {"user.a": b"\0\xff", "user.b c": b"x y", "user.empty": b""}


def test_only_allowed_xattrs_are_restored(work: Work, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "f").write_text("x")
    for name, value in {**XATTRS, "user.other": b"no"}.items():
        os.setxattr(tmp_path / "a" / "f", name, value)
    pair = work.capture(tmp_path / "a", xattrs=tuple(XATTRS)).pair
    work.checkout(tmp_path / "b", pair)
    found = {
        name: os.getxattr(tmp_path / "b" / "f", name) for name in os.listxattr(tmp_path / "b" / "f")
    }
    assert found == XATTRS


NOBODY = 65534


def as_nobody(function: Callable[[], None]) -> None:
    def lowered() -> None:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)

    def report() -> None:
        try:
            if AS_ROOT:
                lowered()
            function()
        except BaseException:
            raise AssertionError(
                traceback.format_exc()
            ) from None  # only picklable results can be sent through a pipe

    child = start_child(report)
    with os.fdopen(child.answer, "rb") as answer:
        data = answer.read()
    decode_answer(data, os.waitpid(child.pid, 0)[1], "a test as nobody")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp())  # pytest's folders are closed to other users
    if AS_ROOT:
        os.chown(path, NOBODY, NOBODY)
    yield path
    remove_tree(path)


def read_only_trees(here: Path) -> None:
    """Directories without write permission that share a hardlink group."""
    for number in range(3):
        deep = here / f"d{number}" / "e" / "f"
        deep.mkdir(parents=True)
        (deep / "x").write_text(str(number))
        (deep / "own").write_text("own")
    first = here / "d0" / "e" / "f" / "x"
    for number in (1, 2):
        os.unlink(here / f"d{number}" / "e" / "f" / "x")
        os.link(first, here / f"d{number}" / "e" / "f" / "x")
    lock(here)


def lock(here: Path, mode: int = 0o555) -> None:
    for folder, _, _ in os.walk(here, topdown=False):
        if folder != str(here):
            os.chmod(folder, mode)


def unlock(here: Path) -> None:
    for folder, _, _ in os.walk(here):
        os.chmod(folder, 0o755)


CHANGES: dict[str, Callable[[Path], object]] = {
    "a member of a group goes": lambda here: (here / "d2" / "e" / "f" / "x").unlink(),
    "a file changes": lambda here: (here / "d1" / "e" / "f" / "own").write_text("changed"),
    "a folder goes": lambda here: shutil.rmtree(here / "d0"),
    "a folder becomes a file": in_order(
        lambda here: shutil.rmtree(here / "d1" / "e"),
        lambda here: (here / "d1" / "e").write_text("x"),
    ),
    "nothing": lambda here: None,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_read_only_directories_are_written_without_root(
    open_folder: Path, change: Callable[[Path], object]
) -> None:
    def go() -> None:
        here = open_folder
        work = Work(Store.create(here / "store"))
        read_only_trees(here / "a")
        before = work.capture(here / "a").pair
        work.checkout(here / "b", before)
        assert describe(here / "b") == describe(here / "a")
        unlock(here / "a")
        change(here / "a")
        lock(here / "a")
        after = work.capture(here / "a").pair
        for start, end in ((before, after), (after, before)):
            work.checkout(here / "c", start)
            work.checkout(here / "c", end, now=start)
            assert work.capture(here / "c").pair == end
            unlock(here / "c")
            shutil.rmtree(here / "c")

    as_nobody(go)


def test_folders_without_owner_access_are_written_without_root(open_folder: Path) -> None:
    def go() -> None:
        work = Work(Store.create(open_folder / "store"))
        pair = Pair(EMPTY_TREE, None)
        with work.store.objects.writer() as writer:
            for _ in range(3):
                listing = {b".": FileNode(0o40600, mtime=7), b"d": FileNode(0o40755, pair=pair)}
                pair = write_listing(writer, listing, mtimes=True)
            pair = write_listing(
                writer, {b".": FileNode(0o40755), b"d": FileNode(0o40755, pair=pair)}, mtimes=True
            )
        work.checkout(open_folder / "b", pair)
        assert stat.S_IMODE((open_folder / "b" / "d").stat().st_mode) == 0o600
        os.chmod(open_folder / "b" / "d", 0o700)
        assert stat.S_IMODE((open_folder / "b" / "d" / "d").stat().st_mode) == 0o600

    as_nobody(go)


def test_a_device_without_root_is_refused_by_name(open_folder: Path) -> None:
    def go() -> None:
        work = Work(Store.create(open_folder / "store"))
        line = attribute_line(b"null", FileNode(0o20666, rdev=(1, 3)), mtimes=False)
        with pytest.raises(CheckoutError, match="null: only root"):
            work.checkout(open_folder / "b", with_attributes(work.store, line, []))

    as_nobody(go)


def test_walk_lists_parents_first(work: Work, tmp_path: Path) -> None:
    (tmp_path / "a" / "d" / "e").mkdir(parents=True)
    (tmp_path / "a" / "d" / "e" / "f").write_text("x")
    pair = work.capture(tmp_path / "a").pair
    assert [path for path, _ in walk(work.store.objects, pair)] == [b"d", b"d/e", b"d/e/f"]


FOLDER = FileNode(stat.S_IFDIR | 0o755)
OTHER_FOLDER = FolderPlan([], [], [], [(b"x", FOLDER, FOLDER._replace(mtime=1))])
FILE = FileNode(MODE_FILE, b"f" * 20, mtime=1)
DATED, OTHER = FILE._replace(mtime=2), FILE._replace(oid=b"o" * 20)
LINKED = FILE._replace(link=b"x", mtime=2)
# present entry, target entry, expected plan
PLANS = {
    "nothing": (None, None, FolderPlan([], [], [], [])),
    "the same": (FILE, FILE, FolderPlan([], [], [], [])),
    "new": (None, FILE, FolderPlan([], [], [(b"x", FILE)], [])),
    "gone": (FILE, None, FolderPlan([(b"x", FILE)], [], [], [])),
    "changed": (FILE, OTHER, FolderPlan([(b"x", FILE)], [], [(b"x", OTHER)], [])),
    "dated": (FILE, DATED, FolderPlan([], [(b"x", DATED)], [], [])),
    "linked": (FILE, LINKED, FolderPlan([(b"x", FILE)], [], [(b"x", LINKED)], [])),
    "a new folder": (None, FOLDER, FolderPlan([], [], [], [(b"x", None, FOLDER)])),
    "a folder for a file": (FILE, FOLDER, FolderPlan([], [], [], [(b"x", FILE, FOLDER)])),
    "a file for a folder": (FOLDER, FILE, FolderPlan([(b"x", FOLDER)], [], [(b"x", FILE)], [])),
    "another folder": (FOLDER, FOLDER._replace(mtime=1), OTHER_FOLDER),
}


@pytest.mark.parametrize("name", PLANS)
def test_what_happens_to_an_entry(name: str) -> None:
    present, target, plan = PLANS[name]
    now = {b".": FOLDER} if present is None else {b".": FOLDER, b"x": present}
    after = {b".": FOLDER} if target is None else {b".": FOLDER, b"x": target}
    assert plan_folder(now, after, shared_inodes=False) == plan


def test_a_file_that_others_share_is_not_dated() -> None:
    plan = plan_folder({b"x": FILE}, {b"x": DATED}, shared_inodes=True)
    assert plan == FolderPlan([(b"x", FILE)], [], [(b"x", DATED)], [])


@pytest.mark.parametrize("name", [b"", b"..", b"a/b", b"a\0"])
def test_a_name_that_leads_out_of_the_directory(name: bytes) -> None:
    with pytest.raises(CheckoutError, match="invalid name"):
        plan_folder({}, {name: FILE}, shared_inodes=False)
