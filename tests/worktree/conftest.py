"""Fixtures for captures and checkouts."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from prov.files import TICK_NS
from prov.store.repository import Store
from prov.worktree.attributes import EMPTY, Pair
from prov.worktree.checkout import checkout
from prov.worktree.exclude import Exclude
from prov.worktree.scan import Faked
from prov.worktree.snapshot import Snapshot, capture, remember


class Work:
    """Captures into and checks out from one store."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def capture(
        self,
        directory: Path,
        *,
        memory: Path | None = None,
        exclude: tuple[str, ...] = (),
        xattrs: tuple[str, ...] = (),
        faked: Mapping[bytes, Faked] | None = None,
        live: bool = False,
    ) -> Snapshot:
        rules = Exclude(exclude)
        with self.store.objects.writer() as writer:
            snapshot = capture(
                self.store,
                directory,
                writer,
                memory=memory,
                exclude=rules,
                xattrs=xattrs,
                faked=faked,
                live=live,
            )
        if memory is not None:
            remember(snapshot, memory)
        return snapshot

    def output(self, directory: Path, path: bytes = b"") -> Pair:
        """Capture a directory without mtimes."""
        snapshot = self.capture(directory)
        with self.store.objects.writer() as writer:
            found = snapshot.output(path, writer)
        assert found is not None
        return found

    def checkout(self, directory: Path, wanted: Pair, now: Pair = EMPTY) -> int:
        return checkout(self.store.objects, directory, wanted, now=now)


@pytest.fixture
def work(store: Store) -> Work:
    return Work(store)


@pytest.fixture
def two_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Share work between two processes on any machine."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})


def pipes() -> set[str]:
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the folder's own
            found.add(os.readlink(f"/proc/self/fd/{name}"))
    return {target for target in found if target.startswith("pipe:")}


def children() -> list[str]:
    """Return the ids of the children of this process, such as the one that forks commands."""
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


@pytest.fixture
def nothing_is_left() -> Iterator[None]:
    """Assert that a test leaves no child process and no pipe to one."""
    before = children(), pipes()
    yield
    assert (children(), pipes()) == before


SETTLED = 3 * TICK_NS / 1e9
"""Seconds after which a written file no longer counts as new."""


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    return tmp_path / "memory"


@pytest.fixture
def top(tmp_path: Path) -> Path:
    path = tmp_path / "top"
    path.mkdir()
    return path


def tree_of_files(top: Path, count: int) -> None:
    for number in range(count):
        path = top / f"d{number % 7}" / f"f{number}"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{number}\n")
