from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from prov.store.objects import object_id
from prov.store.repository import Store
from prov.worktree.attributes import FileNode, Pair
from prov.worktree.checkout import checkout
from prov.worktree.placer import EPOCH_NS, sealed_mtime
from prov.worktree.pool import LINK_REFUSED, LinkFailure, Pool, link_failure
from tests.trees import describe
from tests.worktree.conftest import Work

CONTENT = b"a program, with symbols\n" * 10


@pytest.fixture
def pool(store: Store) -> Pool:
    return Pool(store.cache / "pool", store.objects)


@pytest.fixture
def package(work: Work, tmp_path: Path) -> Pair:
    top = tmp_path / "package"
    (top / "usr" / "bin").mkdir(parents=True)
    (top / "usr" / "bin" / "tool").write_bytes(CONTENT)
    (top / "usr" / "bin" / "tool").chmod(0o755)
    (top / "usr" / "data").write_bytes(CONTENT)
    (top / "usr" / "su").write_bytes(CONTENT)
    (top / "usr" / "su").chmod(0o4755)
    (top / "usr" / "empty").touch()
    return work.output(top)


def put(pool: Pool, package: Pair, directory: Path) -> Path:
    checkout(pool.objects, directory, package, placer=pool)
    return directory


def pool_file(pool: Pool, mode: int) -> Path:
    return pool.folder / pool.name(FileNode(stat.S_IFREG | mode, object_id("blob", CONTENT)))


def inode(path: Path) -> tuple[int, int]:
    return path.stat().st_dev, path.stat().st_ino


def test_files_are_links_to_one_inode_per_content_and_mode(
    pool: Pool, package: Pair, tmp_path: Path
) -> None:
    one, two = put(pool, package, tmp_path / "one"), put(pool, package, tmp_path / "two")
    for name, mode in (("usr/bin/tool", 0o755), ("usr/data", 0o644), ("usr/su", 0o4755)):
        source = pool_file(pool, mode)
        assert inode(one / name) == inode(two / name) == inode(source)
        assert stat.S_IMODE(source.stat().st_mode) == mode
        assert source.stat().st_nlink == 3
    assert inode(one / "usr/bin/tool") != inode(one / "usr/data")
    assert describe(one) == describe(two)


def test_empty_files_are_not_linked(pool: Pool, package: Pair, tmp_path: Path) -> None:
    one, two = put(pool, package, tmp_path / "one"), put(pool, package, tmp_path / "two")
    assert (one / "usr/empty").stat().st_nlink == 1
    assert describe(one) == describe(two)


def strip_in_place(path: Path) -> None:
    """Shorten a file in place and restore its mtime, as `strip -p` does."""
    before = path.stat().st_mtime_ns
    os.truncate(path, len(CONTENT) // 2)
    os.utime(path, ns=(before, before))
    assert path.stat().st_mtime_ns == before


def grow_in_place(path: Path) -> None:
    before = path.stat().st_mtime_ns
    with open(path, "ab") as stream:
        stream.write(b"more")
    os.utime(path, ns=(before, before))


def write_through(path: Path) -> None:
    with open(path, "r+b") as stream:
        stream.write(b"A PROGRAM")


TAMPERING: dict[str, Callable[[Path], object]] = {
    "written through": write_through,
    "stripped, date kept": strip_in_place,
    "grown, date kept": grow_in_place,
    "made executable by all": lambda path: path.chmod(0o777),
    "touched": lambda path: os.utime(path),
    "touched in seconds": lambda path: os.utime(
        path, (path.stat().st_mtime // 1, path.stat().st_mtime // 1)
    ),
    "emptied": lambda path: os.truncate(path, 0),
    "given away": lambda path: os.chown(path, 1, 1),
}


@pytest.mark.parametrize("how", TAMPERING)
def test_a_changed_file_is_detected_reported_and_repaired(
    pool: Pool, package: Pair, tmp_path: Path, how: str
) -> None:
    if how == "given away" and os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    expected = describe(put(pool, package, tmp_path / "before"))
    TAMPERING[how](tmp_path / "before" / "usr" / "data")
    assert describe(put(pool, package, tmp_path / "after")) == expected
    assert [path for path, _ in pool.notes] == [b"usr/data"]
    assert pool.generation() == 1
    assert (tmp_path / "after" / "usr" / "data").read_bytes() == CONTENT
    put(pool, package, tmp_path / "third")
    assert len(pool.notes) == 1


def test_a_link_put_in_the_place_of_a_pool_file_is_not_followed(
    pool: Pool, package: Pair, tmp_path: Path
) -> None:
    put(pool, package, tmp_path / "before")
    source = pool_file(pool, 0o644)
    source.unlink()
    (tmp_path / "secret").write_text("secret")
    source.symlink_to(tmp_path / "secret")
    put(pool, package, tmp_path / "after")
    assert (tmp_path / "after" / "usr" / "data").read_bytes() == CONTENT
    assert not (tmp_path / "after" / "usr" / "data").is_symlink()
    assert (tmp_path / "secret").read_text() == "secret"


def test_a_deleted_pool_is_created_again(pool: Pool, package: Pair, tmp_path: Path) -> None:
    expected = describe(put(pool, package, tmp_path / "before"))
    shutil.rmtree(pool.folder)
    assert describe(put(pool, package, tmp_path / "after")) == expected
    assert pool.notes == []


@pytest.mark.parametrize(
    "number", LINK_REFUSED, ids=[errno.errorcode[number] for number in LINK_REFUSED]
)
def test_where_linking_is_refused_a_copy_is_placed(
    pool: Pool, package: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    linked = describe(put(pool, package, tmp_path / "linked"))

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", refuse)
        copied = put(pool, package, tmp_path / "copied")
    assert describe(copied) == linked
    assert {path.stat().st_nlink for path in copied.rglob("*") if path.is_file()} == {1}
    assert [path for path in pool.folder.rglob("*") if path.name.startswith(".")] == []


def test_any_other_link_failure_is_raised(
    pool: Pool, package: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "link", fail)
    with pytest.raises(Exception, match="cannot write"):
        put(pool, package, tmp_path / "broken")


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system."""
    if not os.access("/dev/shm", os.W_OK) or os.stat("/dev/shm").st_dev == tmp_path.stat().st_dev:
        pytest.skip("/dev/shm is not a different file system here")
    path = Path(tempfile.mkdtemp(dir="/dev/shm"))
    yield path
    shutil.rmtree(path)


def test_on_another_file_system_files_are_copies(
    pool: Pool, package: Pair, tmp_path: Path, elsewhere: Path
) -> None:
    linked = put(pool, package, tmp_path / "linked")
    copied = put(pool, package, elsewhere / "copied")
    assert describe(copied) == describe(linked)
    assert inode(copied / "usr/data") != inode(linked / "usr/data")


@pytest.mark.slow
def test_a_full_inode_is_replaced(pool: Pool, package: Pair, tmp_path: Path) -> None:
    first = put(pool, package, tmp_path / "first")
    source, many = pool_file(pool, 0o644), tmp_path / "many"
    full = inode(source)
    many.mkdir()
    fd = os.open(many, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for number in range(70_000):
            os.link(source, str(number), dst_dir_fd=fd)
    except OSError as error:
        assert error.errno == errno.EMLINK
    else:
        pytest.skip("this file system allows more than 70,000 links to an inode")
    finally:
        os.close(fd)
    second = put(pool, package, tmp_path / "second")
    assert describe(second) == describe(first)
    assert inode(second / "usr/data") == inode(source) != full
    assert inode(first / "usr/data") == full
    assert inode(put(pool, package, tmp_path / "third") / "usr/data") == inode(source)
    assert source.stat().st_nlink == 3
    assert (pool.notes, pool.generation()) == ([], 0)
    shutil.rmtree(many)


@pytest.mark.parametrize("size", [0, 1, 99_999_999, 100_000_000, 1 << 40])
def test_every_tool_supports_the_mtime_of_a_seal(size: int) -> None:
    sealed = sealed_mtime(b"\xff" * 20, size)
    assert EPOCH_NS <= sealed < 500_000_000 * 10**9
    assert sealed != sealed_mtime(b"\xfe" * 20, size)
    assert sealed != sealed_mtime(b"\xff" * 20, size + 1)


FAILURES = {
    errno.ENOENT: LinkFailure.MISSING,
    errno.EBADF: LinkFailure.NOT_OPEN,
    errno.EMLINK: LinkFailure.FULL,
    errno.EXDEV: LinkFailure.REFUSED,
    errno.ENOSPC: LinkFailure.OTHER,
    errno.EEXIST: LinkFailure.OTHER,
    0: LinkFailure.OTHER,
}


@pytest.mark.parametrize("number", FAILURES)
def test_link_failures(number: int) -> None:
    assert link_failure(number) is FAILURES[number]
