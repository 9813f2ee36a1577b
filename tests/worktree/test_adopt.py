"""Files that the pool adopts from a WORKDIR, and files with build paths that it shares."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prov.store.objects import Oid
from prov.store.odb import ObjectDatabase
from prov.store.repository import Store
from prov.worktree.attributes import FileNode, Pair, write_listing
from prov.worktree.checkout import checkout
from prov.worktree.folders import ScannedFile
from prov.worktree.path_tokens import HELD, TokenPaths, tokenise
from prov.worktree.placer import is_sealed
from prov.worktree.pool import Pool
from tests.trees import describe, in_order
from tests.worktree.conftest import Work
from tests.worktree.test_checkout import as_nobody, open_folder, scratch
from tests.worktree.test_pool import inode, pool, put

__all__ = ["open_folder", "pool"]  # fixtures
CONTENT = b"what a task made\n" * 9


@pytest.fixture
def made(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "f").write_bytes(CONTENT)
    return tmp_path / "work" / "f"


def captured(store: Store, path: Path) -> tuple[FileNode, ScannedFile]:
    """Return a file's stat as a capture records it."""
    state = path.stat()
    with store.objects.writer() as writer:
        node = FileNode(state.st_mode, writer.add_blob(path.read_bytes()))
    seen = (
        path.name.encode(),
        state.st_mode,
        state.st_ino,
        state.st_size,
        state.st_mtime_ns,
        state.st_ctime_ns,
    )
    return node, ScannedFile(*seen)


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() or path.is_symlink())


def of_one(store: Store, node: FileNode, name: bytes = b"f") -> Pair:
    with store.objects.writer() as writer:
        return write_listing(writer, {name: node}, mtimes=False)


# adopting


@pytest.mark.parametrize("mode", [0o644, 0o755, 0o4755, 0o400])
def test_an_adopted_file_has_a_new_inode(
    store: Store, pool: Pool, made: Path, tmp_path: Path, mode: int
) -> None:
    made.chmod(mode)
    before = made.stat()
    node, seen = captured(store, made)
    pool.adopt(made, node, seen)
    [source] = files(pool.folder)
    assert source == pool.folder / pool.name(node)
    assert source.read_bytes() == CONTENT
    assert is_sealed(source.stat(), node)
    assert inode(source) != inode(made)
    after = made.stat()  # except the access time, which reading can change
    assert (after.st_ino, after.st_size, after.st_mtime_ns, after.st_ctime_ns) == (
        before.st_ino,
        before.st_size,
        before.st_mtime_ns,
        before.st_ctime_ns,
    )
    assert source.stat().st_nlink == made.stat().st_nlink == 1
    made.chmod(0o600)
    made.write_bytes(b"the task goes on")
    assert source.read_bytes() == CONTENT
    top = put(pool, of_one(store, node), tmp_path / "sysroot")
    assert inode(top / "f") == inode(source)


@settings(max_examples=30)
@given(
    content=st.binary(min_size=1, max_size=50)
    | st.builds(lambda size: os.urandom(size), st.integers(1, 300_000))
)
def test_a_pool_file_is_the_same_adopted_or_filled(
    work: Work, tmp_path: Path, content: bytes
) -> None:
    with scratch(tmp_path) as here:
        (here / "f").write_bytes(content)
        node, seen = captured(work.store, here / "f")
        adopting, filling = (
            Pool(here / name, work.store.objects) for name in ("adopted", "filled")
        )
        adopting.adopt(here / "f", node, seen)
        put(filling, of_one(work.store, node), here / "top")
        assert [path.name for path in files(adopting.folder)] == [
            path.name for path in files(filling.folder)
        ]
        assert describe(adopting.folder, mtimes=False) == describe(filling.folder, mtimes=False)
        states = [path.stat() for path in files(adopting.folder) + files(filling.folder)]
        assert len({(state.st_mtime_ns, state.st_mode, state.st_size) for state in states}) == 1


class NoContent:
    """A store that fails when a blob is read."""

    def __init__(self, objects: ObjectDatabase) -> None:
        self.tree = objects.tree

    def blob(self, oid: Oid) -> NoReturn:
        raise AssertionError("a blob was read")

    def stream_blob(self, oid: Oid) -> Iterator[bytes]:
        raise AssertionError("a blob was read")


def refuse(*_: object, **__: object) -> NoReturn:
    raise AssertionError("content came into the process")


def test_no_content_is_read_for_it(
    store: Store, pool: Pool, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel copies the file, and a sysroot then reads nothing from the store."""
    node, seen = captured(store, made)
    pair = of_one(store, node)
    pool.objects = NoContent(store.objects)
    with monkeypatch.context() as patch:
        for name in (
            "read",
            "readv",
            "pread",
            "preadv",
            "write",
            "writev",
            "pwrite",
            "pwritev",
            "fdopen",
        ):
            patch.setattr(os, name, refuse)
        patch.setattr("builtins.open", refuse)
        pool.adopt(made, node, seen)
    checkout(pool.objects, tmp_path / "sysroot", pair, placer=pool)
    assert (tmp_path / "sysroot" / "f").read_bytes() == CONTENT


def test_a_file_copied_in_pieces_is_complete(
    store: Store, pool: Pool, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.sendfile
    node, seen = captured(store, made)
    monkeypatch.setattr(
        os, "sendfile", lambda out, source, at, count: real(out, source, at, min(count, 7))
    )
    monkeypatch.setattr(fcntl, "ioctl", failing(errno.EOPNOTSUPP))
    pool.adopt(made, node, seen)
    assert (pool.folder / pool.name(node)).read_bytes() == CONTENT


def failing(number: int) -> Callable[..., NoReturn]:
    def fail(*_: object, **__: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    return fail


def keep_date(path: Path, change: Callable[[Path], object]) -> None:
    before = path.stat().st_mtime_ns
    change(path)
    os.utime(path, ns=(before, before))


def write_over(path: Path, content: bytes) -> None:
    with open(path, "r+b") as stream:
        stream.write(content)


CHANGES: dict[str, Callable[[Path], object]] = {
    "rewritten": lambda path: path.write_bytes(b"another content"),
    "longer": lambda path: path.write_bytes(CONTENT + b"x"),
    "the same size and date": lambda path: keep_date(
        path, lambda path: write_over(path, CONTENT[::-1])
    ),
    "touched": lambda path: os.utime(path),
    "another mode": lambda path: path.chmod(0o600),
    "hardlinked": lambda path: os.link(path, path.with_name("other")),
    "another file": in_order(
        lambda path: path.with_name("g").write_bytes(CONTENT),
        lambda path: path.with_name("g").replace(path),
    ),
    "a link to it": in_order(
        lambda path: path.rename(path.with_name("g")),
        lambda path: path.symlink_to("g"),
    ),
    "a folder": in_order(
        lambda path: path.unlink(),
        lambda path: path.mkdir(),
    ),
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("how", CHANGES)
def test_a_file_changed_since_its_capture_is_not_adopted(
    store: Store, pool: Pool, made: Path, how: str
) -> None:
    node, seen = captured(store, made)
    CHANGES[how](made)
    with pytest.raises(OSError):
        pool.adopt(made, node, seen)
    assert files(pool.folder) == []


@pytest.mark.parametrize("how", ["rewritten", "longer", "the same size and date", "touched"])
def test_a_file_changed_during_adoption_is_not_adopted(
    store: Store, pool: Pool, made: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    node, seen = captured(store, made)
    real = os.sendfile

    def meanwhile(*arguments: Any) -> int:
        CHANGES[how](made)
        return real(*arguments)

    monkeypatch.setattr(fcntl, "ioctl", failing(errno.EOPNOTSUPP))
    monkeypatch.setattr(os, "sendfile", meanwhile)
    with pytest.raises(OSError):
        pool.adopt(made, node, seen)
    assert files(pool.folder) == []


def test_a_file_too_new_for_the_cache_is_not_adopted(store: Store, pool: Pool, made: Path) -> None:
    node, seen = captured(store, made)
    with pytest.raises(OSError):
        pool.adopt(made, node, seen._replace(ctime=-1))
    assert files(pool.folder) == []


@pytest.mark.parametrize("call", ["sendfile", "fchmod", "utime"])
def test_a_failure_leaves_nothing(
    store: Store, pool: Pool, made: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    node, seen = captured(store, made)
    monkeypatch.setattr(fcntl, "ioctl", failing(errno.EOPNOTSUPP))
    monkeypatch.setattr(os, call, failing(errno.ENOSPC))
    with pytest.raises(OSError, match="No space"):
        pool.adopt(made, node, seen)
    assert files(pool.folder) == []


def test_a_file_in_the_pool_is_not_adopted_again(store: Store, pool: Pool, made: Path) -> None:
    node, seen = captured(store, made)
    pool.adopt(made, node, seen)
    first = inode(pool.folder / pool.name(node))
    pool.adopt(made, node, seen)
    made.unlink()
    pool.adopt(made, node, seen)  # the file is not even opened
    assert inode(pool.folder / pool.name(node)) == first


def test_a_file_that_is_never_linked_is_not_adopted(store: Store, pool: Pool, made: Path) -> None:
    node, seen = captured(store, made)
    pool.adopt(made, node._replace(xattrs=((b"user.a", b"x"),)), seen)
    made.write_bytes(b"")
    pool.adopt(made, *captured(store, made))
    assert files(pool.folder) == []


def test_a_read_only_pool_adopts_nothing(open_folder: Path) -> None:
    def go() -> None:
        store = Store.create(open_folder / "store")
        (open_folder / "f").write_bytes(CONTENT)
        (open_folder / "closed").mkdir(mode=0o555)
        pool = Pool(open_folder / "closed" / "pool", store.objects)
        pool.adopt(open_folder / "f", *captured(store, open_folder / "f"))
        assert list((open_folder / "closed").iterdir()) == []

    as_nobody(go)


# files that contain build paths

HERE = {b"W": b"/a/folder/to/work/in", b"S": b"/a/folder/of/a/sysroot"}
CONSTANT, OTHER = TokenPaths(HERE, constant=True), TokenPaths({**HERE, b"S": b"/s"}, constant=True)
TEXT = b"prefix=/a/folder/of/a/sysroot/usr\n"
ELF = b"\x7fELF\0/a/folder/of/a/sysroot/usr\0"


@pytest.fixture(params=[TEXT, ELF], ids=["text", "binary"])
def naming(request: pytest.FixtureRequest, store: Store) -> FileNode:
    """A file that contains the sysroot's path."""
    stored = tokenise(request.param, CONSTANT)
    assert stored is not None
    with store.objects.writer() as writer:
        return FileNode(stat.S_IFREG | 0o644, writer.add_blob(stored.data), fixme=stored.fixme)


def put_for(pool: Pool, places: TokenPaths | None, pair: Pair, folder: Path) -> Path:
    placed = Pool(pool.folder, pool.objects, places)
    checkout(pool.objects, folder, pair, placer=placed)
    assert placed.notes == []
    return folder / "f"


def test_with_constant_paths_relocated_files_are_shared(
    store: Store, pool: Pool, naming: FileNode, tmp_path: Path
) -> None:
    pair = of_one(store, naming)
    one, two = (put_for(pool, CONSTANT, pair, tmp_path / name) for name in ("one", "two"))
    [source] = files(pool.folder)
    assert inode(one) == inode(two) == inode(source)
    assert source.name.endswith(f"-644-{CONSTANT.digest(naming.fixme)}")
    assert HERE[b"S"] in one.read_bytes()
    assert is_sealed(one.stat(), naming)


def test_other_constant_places_have_another_file(
    store: Store, pool: Pool, naming: FileNode, tmp_path: Path
) -> None:
    pair = of_one(store, naming)
    one, other = (
        put_for(pool, CONSTANT, pair, tmp_path / "one"),
        put_for(pool, OTHER, pair, tmp_path / "other"),
    )
    assert inode(one) != inode(other)
    assert len(files(pool.folder)) == 2
    assert b"/s/usr" in other.read_bytes()


def test_where_places_differ_every_place_has_its_own_copy(
    store: Store, pool: Pool, naming: FileNode, tmp_path: Path
) -> None:
    pair = of_one(store, naming)
    one, two = (put_for(pool, TokenPaths(HERE), pair, tmp_path / name) for name in ("one", "two"))
    assert (one.stat().st_nlink, two.stat().st_nlink) == (1, 1)
    assert one.read_bytes() == two.read_bytes()
    assert HERE[b"S"] in one.read_bytes()
    assert is_sealed(one.stat(), naming)
    assert not pool.folder.exists()


def test_without_places_tokens_are_shared_like_any_content(
    store: Store, pool: Pool, naming: FileNode, tmp_path: Path
) -> None:
    pair = of_one(store, naming)
    one, two = (put_for(pool, None, pair, tmp_path / name) for name in ("one", "two"))
    assert inode(one) == inode(two)
    assert b"@PROV:SYSROOT" in one.read_bytes()
    relocated = put_for(pool, CONSTANT, pair, tmp_path / "relocated")
    assert inode(relocated) != inode(one)


@pytest.mark.parametrize(("places", "shared"), [(CONSTANT, True), (TokenPaths(HERE), False)])
def test_a_held_file_is_unchanged(
    store: Store, pool: Pool, tmp_path: Path, places: TokenPaths, shared: bool
) -> None:
    data = b"\0compiled /a/folder/of/a/sysroot"
    with store.objects.writer() as writer:
        node = FileNode(stat.S_IFREG | 0o644, writer.add_blob(data), fixme=HELD)
    one, two = (
        put_for(pool, places, of_one(store, node), tmp_path / name) for name in ("one", "two")
    )
    assert one.read_bytes() == two.read_bytes() == data
    assert (inode(one) == inode(two)) == shared


def test_a_relocated_file_that_was_tampered_with_is_made_again(
    store: Store, pool: Pool, naming: FileNode, tmp_path: Path
) -> None:
    pair = of_one(store, naming)
    one = put_for(pool, CONSTANT, pair, tmp_path / "one")
    content = one.read_bytes()
    one.write_bytes(b"tampered with")
    placing = Pool(pool.folder, pool.objects, CONSTANT)
    assert not placing.intact(naming)
    checkout(pool.objects, tmp_path / "two", pair, placer=placing)
    assert [path for path, _ in placing.notes] == [b"f"]
    assert placing.generation() == 1
    assert (tmp_path / "two" / "f").read_bytes() == content
    assert placing.intact(naming)


def test_a_private_path_is_not_a_link(store: Store, pool: Pool, made: Path, tmp_path: Path) -> None:
    node, _ = captured(store, made)
    with store.objects.writer() as writer:
        pair = write_listing(writer, {b"f": node, b"g": node}, mtimes=False)
    placing = Pool(pool.folder, pool.objects, private=frozenset([b"f"]))
    for name in ("one", "two"):
        checkout(pool.objects, tmp_path / name, pair, placer=placing)
    one, two = tmp_path / "one", tmp_path / "two"
    assert (one / "f").stat().st_nlink == (two / "f").stat().st_nlink == 1
    assert inode(one / "g") == inode(two / "g")
    assert is_sealed((one / "f").stat(), node)


def test_a_file_with_xattrs_is_not_a_link(
    store: Store, pool: Pool, made: Path, tmp_path: Path
) -> None:
    node, _ = captured(store, made)
    pair = of_one(store, node._replace(xattrs=((b"user.a", b"x"),)))
    for name in ("one", "two"):
        assert (put(pool, pair, tmp_path / name) / "f").stat().st_nlink == 1
        assert os.getxattr(tmp_path / name / "f", "user.a") == b"x"
    assert not pool.folder.exists()
