"""Sysroots on file systems with reflinks, without hardlinks, or mounted read-only."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from prov.store.repository import Store
from prov.worktree.attributes import EMPTY, Pair
from prov.worktree.checkout import checkout
from prov.worktree.placer import PrivatePlacer, is_sealed
from prov.worktree.pool import LINK_REFUSED, Pool
from tests.trees import AS_ROOT, describe
from tests.worktree.conftest import Work
from tests.worktree.test_adopt import captured, files, refuse
from tests.worktree.test_checkout import as_nobody, open_folder
from tests.worktree.test_pool import CONTENT, inode, package, pool, pool_file, put, write_through

pytestmark = pytest.mark.process

__all__ = ["open_folder", "package", "pool"]  # fixtures


class Kind(NamedTuple):
    """How to create a file system in a file and mount it."""

    make: list[str]
    mount: list[str]
    size: int = 64 << 20


KINDS = {
    "btrfs": Kind(["mkfs.btrfs", "-q", "-K"], ["mount", "-o", "loop"], 256 << 20),
    "xfs": Kind(["mkfs.xfs", "-q", "-K", "-m", "reflink=1"], ["mount", "-o", "loop"], 320 << 20),
    # these do not support chmod; with `quiet` it is not an error
    "vfat": Kind(["mkfs.vfat"], ["mount", "-t", "vfat", "-o", "loop,quiet"]),
    "exfat": Kind(["mkfs.exfat"], ["mount", "-t", "exfat-fuse", "-o", "loop"]),
}


def attempt(*command: str | Path) -> None:
    """Run a command; if it fails, skip the test with the command's output as the reason."""
    if not AS_ROOT:
        pytest.skip("only root can mount a file system")
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip(f"there is no {command[0]} here")
    if done.returncode:
        said = (done.stderr or done.stdout).strip().partition("\n")[0]
        pytest.skip(f"{' '.join(map(str, command[:-1]))}: {said}")


class Mounts:
    """Mounts file systems until the end of a test."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.stack = stack
        self.folder = folder

    def image(self, name: str) -> Path:
        """Mount a new file system of a kind; return its path."""
        kind, image, place = KINDS[name], self.folder / f"{name}.image", self.folder / name
        with open(image, "wb") as stream:
            stream.truncate(kind.size)
        self.stack.callback(image.unlink)
        attempt(*kind.make, image)
        place.mkdir()
        self.mounted(place, *kind.mount, image, place)
        return place

    def mounted(self, place: Path, *command: str | Path) -> None:
        attempt(*command)
        # even if a failed test has open files in it
        self.stack.callback(lambda: subprocess.run(["umount", "--lazy", place], check=True))

    def again(self, folder: Path, place: Path) -> None:
        """Mount a folder read-only at a second path."""
        place.mkdir()
        self.mounted(place, "mount", "--bind", folder, place)
        attempt("mount", "-o", "remount,bind,ro", place)


@pytest.fixture
def mounts(tmp_path: Path) -> Iterator[Mounts]:
    with ExitStack() as stack:
        yield Mounts(stack, tmp_path)


@pytest.fixture(params=["btrfs", "xfs"])
def sharing(request: pytest.FixtureRequest, mounts: Mounts) -> Path:
    """A folder on a file system with reflinks."""
    return mounts.image(request.param)


@pytest.fixture(params=["vfat", "exfat"])
def linkless(request: pytest.FixtureRequest, mounts: Mounts) -> Path:
    """A folder on a file system without hardlinks."""
    return mounts.image(request.param)


def in_it(pool: Pool, folder: Path) -> Pool:
    return Pool(folder / "pool", pool.objects)


# file systems with reflinks


def test_there_a_sysroot_is_the_same(
    pool: Pool, package: Pair, tmp_path: Path, sharing: Path
) -> None:
    expected = describe(put(pool, package, tmp_path / "expected"))
    there = in_it(pool, sharing)
    for name in ("one", "two"):
        assert describe(put(there, package, sharing / name)) == expected
    assert (
        inode(sharing / "one" / "usr/data")
        == inode(sharing / "two" / "usr/data")
        == inode(pool_file(there, 0o644))
    )
    copied = put(pool, package, sharing / "from another")
    assert describe(copied) == expected
    assert (copied / "usr/data").stat().st_nlink == 1
    assert (pool.notes, there.notes) == ([], [])


def test_there_a_deleted_pool_is_created_again(pool: Pool, package: Pair, sharing: Path) -> None:
    """The process that has its folder open does this."""
    there = in_it(pool, sharing)
    expected = describe(put(there, package, sharing / "before"))
    shutil.rmtree(there.folder)
    after = put(there, package, sharing / "after")
    assert describe(after) == expected
    assert inode(after / "usr/data") == inode(pool_file(there, 0o644))


def test_there_changes_are_detected_and_repaired(pool: Pool, package: Pair, sharing: Path) -> None:
    there = in_it(pool, sharing)
    expected = describe(put(there, package, sharing / "before"))
    write_through(sharing / "before" / "usr" / "data")
    assert describe(put(there, package, sharing / "after")) == expected
    assert [path for path, _ in there.notes] == [b"usr/data"]
    assert there.generation() == 1


def test_there_an_adopted_file_shares_only_blocks(
    store: Store, pool: Pool, tmp_path: Path, sharing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, there = sharing / "made", in_it(pool, sharing)
    content = os.urandom(300_000)
    made.write_bytes(content)
    node, seen = captured(store, made)
    with monkeypatch.context() as patch:
        patch.setattr(os, "sendfile", refuse)
        there.adopt(made, node, seen)
    [source] = files(there.folder)
    assert source.read_bytes() == content
    assert inode(source) != inode(made)
    assert is_sealed(source.stat(), node)
    assert made.stat().st_mtime_ns == seen.mtime
    made.write_bytes(b"the task goes on")
    assert source.read_bytes() == content


def test_there_a_changed_file_is_not_adopted(store: Store, pool: Pool, sharing: Path) -> None:
    made, there = sharing / "made", in_it(pool, sharing)
    made.write_bytes(b"x" * 9000)
    node, seen = captured(store, made)
    made.write_bytes(b"y" * 9000)
    with pytest.raises(OSError):
        there.adopt(made, node, seen)
    assert files(there.folder) == []


def test_from_another_file_system_it_is_copied(
    store: Store, pool: Pool, sharing: Path, tmp_path: Path
) -> None:
    """In both directions."""
    for where, adopting in ((sharing, pool), (tmp_path, in_it(pool, sharing))):
        made = where / "made"
        made.write_bytes(b"content" * 5000)
        node, seen = captured(store, made)
        adopting.adopt(made, node, seen)
        [source] = files(adopting.folder)
        assert source.read_bytes() == b"content" * 5000
        assert is_sealed(source.stat(), node)


# file systems without hardlinks


@pytest.fixture
def plain(work: Work, tmp_path: Path) -> Pair:
    """A package of entries that every file system supports."""
    (tmp_path / "plain" / "usr" / "bin").mkdir(parents=True)
    (tmp_path / "plain" / "usr" / "bin" / "tool").write_bytes(CONTENT)
    (tmp_path / "plain" / "usr" / "bin" / "tool").chmod(0o755)
    (tmp_path / "plain" / "usr" / "data").write_bytes(bytes(1 << 17) + CONTENT)
    (tmp_path / "plain" / "usr" / "empty").touch()
    return work.output(tmp_path / "plain")


def contents(top: Path) -> dict[str, bytes]:
    return {str(path.relative_to(top)): path.read_bytes() for path in files(top)}


def test_without_hardlinks_files_are_copies(
    pool: Pool, plain: Pair, tmp_path: Path, linkless: Path
) -> None:
    (linkless / "f").touch()
    with pytest.raises(OSError) as refused:
        os.link(linkless / "f", linkless / "g")
    assert refused.value.errno in LINK_REFUSED
    expected = contents(put(pool, plain, tmp_path / "expected"))
    assert expected == contents(tmp_path / "plain")
    there = in_it(pool, linkless)
    for placing, name in ((there, "one"), (there, "two"), (pool, "from another")):
        assert contents(put(placing, plain, linkless / name)) == expected
    assert contents(put(there, plain, tmp_path / "to another")) == expected
    assert {path.stat().st_nlink for path in files(linkless) + files(tmp_path / "to another")} == {
        1
    }
    assert [path for path in files(linkless) if path.name.startswith(".")] == []
    assert (pool.notes, there.notes) == ([], [])


def test_without_hardlinks_files_are_adopted_by_copy(
    store: Store, pool: Pool, linkless: Path
) -> None:
    made, there = linkless / "made", in_it(pool, linkless)
    made.write_bytes(b"content")
    node, seen = captured(store, made)
    there.adopt(made, node, seen)
    assert [path.read_bytes() for path in files(there.folder)] == [b"content"]


# read-only file systems


def test_from_a_pool_mounted_read_only_files_are_copies(
    pool: Pool, package: Pair, tmp_path: Path, mounts: Mounts
) -> None:
    expected = describe(put(pool, package, tmp_path / "expected"))
    pool_file(pool, 0o644).unlink()
    before = files(pool.folder)
    mounts.again(pool.folder, tmp_path / "read only")
    closed = Pool(tmp_path / "read only", pool.objects)
    with pytest.raises(OSError, match="Read-only"):
        (closed.folder / "f").touch()
    assert describe(put(closed, package, tmp_path / "top")) == expected
    assert {path.stat().st_nlink for path in files(tmp_path / "top")} == {1}
    assert files(pool.folder) == before
    assert (closed.notes, closed.generation()) == ([], 0)


def test_a_pool_mounted_read_only_adopts_nothing(
    store: Store, pool: Pool, tmp_path: Path, mounts: Mounts
) -> None:
    pool.folder.mkdir()
    mounts.again(pool.folder, tmp_path / "read only")
    (tmp_path / "made").write_bytes(b"content")
    Pool(tmp_path / "read only", pool.objects).adopt(
        tmp_path / "made", *captured(store, tmp_path / "made")
    )
    assert files(pool.folder) == []


FILLED = {"not there": [1, 1], "empty": [1, 1], "with one of two": [3, 1], "full": [3, 3]}


@pytest.mark.parametrize("filled", FILLED)
def test_from_a_closed_pool_existing_files_are_linked(open_folder: Path, filled: str) -> None:
    def go() -> None:
        work = Work(Store.create(open_folder / "store"))
        pool = Pool(open_folder / "closed" / "pool", work.store.objects)
        pool.folder.parent.mkdir()
        first, whole = two_files(work, open_folder / "package")
        there = {"empty": EMPTY, "with one of two": first, "full": whole}
        if filled in there:
            put(pool, there[filled], open_folder / "first")
            pool.folder.mkdir(exist_ok=True)
        before = files(pool.folder)
        set_modes(pool.folder.parent, 0o555)
        put(pool, whole, open_folder / "second")
        checkout(
            work.store.objects,
            open_folder / "expected",
            whole,
            placer=PrivatePlacer(work.store.objects, sealed=True),
        )
        assert describe(open_folder / "second") == describe(open_folder / "expected")
        assert [
            (open_folder / "second" / name).stat().st_nlink for name in ("old", "new")
        ] == FILLED[filled]
        assert files(pool.folder) == before
        assert (pool.notes, pool.generation()) == ([], 0)
        set_modes(pool.folder.parent, 0o755)

    as_nobody(go)


def two_files(work: Work, top: Path) -> tuple[Pair, Pair]:
    """Return a package with one file, and another package with an additional file."""
    top.mkdir()
    (top / "old").write_text("old")
    first = work.output(top)
    (top / "new").write_text("new")
    return first, work.output(top)


def set_modes(folder: Path, mode: int) -> None:
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir():
            path.chmod(mode)


def test_a_changed_file_of_a_closed_pool_is_never_linked(open_folder: Path) -> None:
    def go() -> None:
        work = Work(Store.create(open_folder / "store"))
        pool = Pool(open_folder / "pool", work.store.objects)
        _, whole = two_files(work, open_folder / "package")
        put(pool, whole, open_folder / "first")
        (open_folder / "first" / "old").write_text("tampered with")
        set_modes(pool.folder, 0o555)
        put(pool, whole, open_folder / "second")
        assert (open_folder / "second" / "old").read_text() == "old"
        assert (open_folder / "second" / "old").stat().st_nlink == 1
        set_modes(pool.folder, 0o755)

    as_nobody(go)


# files that must not be linked to


@pytest.fixture
def immutable() -> Iterator[Callable[[Path], None]]:
    """Make a file immutable, so that no process can change or link it."""
    with ExitStack() as stack:

        def make(path: Path) -> None:
            attempt("chattr", "+i", path)
            stack.callback(lambda: subprocess.run(["chattr", "-i", path], check=True))

        yield make


def test_an_unlinkable_file_is_copied(
    pool: Pool, package: Pair, tmp_path: Path, immutable: Callable[[Path], None]
) -> None:
    linked = put(pool, package, tmp_path / "linked")
    immutable(pool_file(pool, 0o644))
    with pytest.raises(PermissionError) as refused:
        os.link(pool_file(pool, 0o644), tmp_path / "refused")
    assert refused.value.errno == errno.EPERM
    copied = put(pool, package, tmp_path / "copied")
    assert describe(copied) == describe(linked)
    assert (copied / "usr/data").stat().st_nlink == 1
    assert inode(copied / "usr/bin/tool") == inode(linked / "usr/bin/tool")
    assert (pool.notes, pool.generation()) == ([], 0)
