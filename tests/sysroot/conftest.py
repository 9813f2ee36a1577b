"""Fixtures for sysroots: packages, and sysroots composed of them."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from prov.store.objects import object_id
from prov.store.odb import ObjectWriter
from prov.store.repository import Store
from prov.sysroot.compose import Composed, Sysroots
from prov.sysroot.postinst import ScriptRunner, plain_run
from prov.sysroot.state import SysrootState
from prov.worktree.attributes import FileNode, Listing, Pair, write_listing
from prov.worktree.merge import Owned
from prov.worktree.path_tokens import TokenPaths
from prov.worktree.placer import is_sealed
from prov.worktree.pool import Pool
from prov.worktree.verify import Mismatch
from tests.trees import everything
from tests.worktree.conftest import Work


class File(NamedTuple):
    """A regular file; files of a package with the same `group` are hardlinked."""

    data: bytes
    mode: int = 0o644
    group: str = ""
    fixme: bytes = b""


class Link(NamedTuple):
    target: bytes


class Folder(NamedTuple):
    mode: int = 0o755


Spec = Mapping[str, "File | Link | Folder | str"]
"""The entry at each path; a text is a file with that content, executable below `bin`."""

STEPS = (
    "link",
    "mkdir",
    "rename",
    "replace",
    "unlink",
    "rmdir",
    "utime",
    "symlink",
    "fchmod",
    "write",
)
"""The functions of `os` that change files on disk."""


class Composer:
    """A store, and sysroots in its cache."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.work = Work(store)
        self.sysroots = Sysroots(
            Pool(store.cache / "pool", store.objects), store.cache / "sysroots"
        )

    def package(
        self, folder: Path, files: dict[str, str], *, links: dict[str, str] | None = None
    ) -> Pair:
        """Write a package to a folder and capture it."""
        folder.mkdir(parents=True)
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if name.endswith("/"):
                path.mkdir(exist_ok=True)
            else:
                path.write_text(text)
                path.chmod(0o755 if "bin" in name else 0o644)
        for name, target in (links or {}).items():
            os.link(folder / target, folder / name)
        return self.work.output(folder)

    def owned(self, owner: str, spec: Spec) -> Owned:
        """Create a package without writing it to disk."""
        with self.store.objects.writer() as writer:
            return Owned(owner, recorded(writer, spec))

    def composed(self, directory: Path, packages: Iterable[Owned], **how: Any) -> Composed:
        with self.store.objects.writer() as writer:
            return self.sysroots.compose(writer, directory, list(packages), **how)

    def compose(self, directory: Path, packages: Iterable[Owned], **how: Any) -> Pair:
        return self.composed(directory, packages, **how).pair

    def check(self, directory: Path, *, places: TokenPaths | None = None) -> list[Mismatch]:
        with self.store.objects.writer() as writer:
            return self.sysroots.check(writer, directory, places=places)

    def state(self, directory: Path) -> SysrootState:
        state = SysrootState.read(self.sysroots._files(directory).state)
        assert state is not None
        return state

    def pool_file(self, data: bytes, mode: int = 0o644) -> Path:
        pool = self.sysroots.pool
        return pool.folder / pool.name(FileNode(stat.S_IFREG | mode, object_id("blob", data)))

    def assert_pool_intact(self) -> None:
        """Assert that each file of the pool has the content that its name promises."""
        folder = self.sysroots.pool.folder
        for path in folder.glob("??/*") if folder.is_dir() else []:
            if path.name.startswith(".") and path.lstat().st_nlink == 1:
                continue  # left by a killed process
            name, _, rest = path.name.lstrip(".").partition(".")[0].partition("-")
            mode, _, place = rest.partition("-")
            oid = bytes.fromhex(path.parent.name + name)
            if not place:
                assert object_id("blob", path.read_bytes()) == oid, path
            assert is_sealed(path.lstat(), FileNode(stat.S_IFREG | int(mode, 8), oid)), path


@pytest.fixture
def composer(store: Store) -> Composer:
    return Composer(store)


@pytest.fixture
def run() -> ScriptRunner:
    """Run postinst scripts with this machine's programs."""
    return plain_run({"PATH": os.environ["PATH"]})


def recorded(writer: ObjectWriter, spec: Spec) -> Pair:
    """Write a spec as a recorded directory."""
    groups: dict[str, bytes] = {}
    for path, leaf in sorted(spec.items()):
        if isinstance(leaf, File) and leaf.group:
            groups.setdefault(leaf.group, os.fsencode(path))
    members = [leaf.group for leaf in spec.values() if isinstance(leaf, File)]
    links = {group: first for group, first in groups.items() if members.count(group) > 1}
    return _folder(writer, "", spec, links)


def _folder(writer: ObjectWriter, top: str, spec: Spec, links: dict[str, bytes]) -> Pair:
    own = spec.get(top.rstrip("/"))
    listing: Listing = {
        b".": FileNode(stat.S_IFDIR | (own.mode if isinstance(own, Folder) else 0o755))
    }
    for path in sorted(path for path in spec if path.startswith(top) and path != top):
        name, _, below = path[len(top) :].partition("/")
        leaf = spec[path]
        if below or isinstance(leaf, Folder):
            if os.fsencode(name) not in listing:
                listing[os.fsencode(name)] = FileNode(
                    0o40755, pair=_folder(writer, f"{top}{name}/", spec, links)
                )
        elif isinstance(leaf, Link):
            listing[os.fsencode(name)] = FileNode(0o120777, writer.add("blob", leaf.target))
        else:
            file = (
                leaf
                if isinstance(leaf, File)
                else File(leaf.encode(), 0o755 if "bin/" in path else 0o644)
            )
            mode, link = stat.S_IFREG | file.mode, links.get(file.group, b"")
            listing[os.fsencode(name)] = FileNode(
                mode, writer.add("blob", file.data), link=link, fixme=file.fixme
            )
    return write_listing(writer, listing, mtimes=False)


def some_packages(composer: Composer, here: Path) -> list[Owned]:
    """Generate packages with separate and shared folders, files and hardlinks."""
    packages = []
    for number in range(8):
        files = {
            f"usr/lib/l{number}": f"{number}",
            "usr/share/common": "same",
            f"usr/bin/tool{number % 3}{number}": "#!",
        }
        files |= {
            f"usr/share/empty{number}/": "",
            f"only{number}/deep/er/f": "x",
            f"usr/include/{number // 2}/h{number}": "h",
        }
        links = (
            {f"usr/bin/alias{number}": f"usr/bin/tool{number % 3}{number}"} if number % 2 else None
        )
        packages.append(
            Owned(f"p{number}", composer.package(here / f"p{number}", files, links=links))
        )
    return packages


def fingerprint(directory: Path) -> dict[bytes, tuple[int, int, int]]:
    directories, others = everything(os.fsencode(directory))
    states = {path: os.lstat(path) for path in directories + others}
    return {
        path: (state.st_ino, state.st_mtime_ns, state.st_ctime_ns) for path, state in states.items()
    }


def folders(directory: Path) -> dict[bytes, tuple[int, int]]:
    """Return a state that changes with every write into a folder, but not with new hardlinks."""
    states = {path: os.stat(path) for path in everything(os.fsencode(directory))[0]}
    return {path: (state.st_ino, state.st_ctime_ns) for path, state in states.items()}


def in_child(
    composer: Composer, do: Callable[[Composer], object], *, dies_before: int | None = None
) -> int:
    """Run a function in a child process and kill it before the given number of disk changes.

    Returns the child's wait status.
    """
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            if dies_before is not None:
                _die_before(dies_before)
            do(Composer(Store.open(composer.store.path)))
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1]


def _die_before(number: int) -> None:
    left = number

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
            return real(*arguments, **options)

        return step

    for name in STEPS:
        setattr(os, name, counted(getattr(os, name)))
