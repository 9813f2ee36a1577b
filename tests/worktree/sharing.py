"""Helpers for tests of shared checkouts: thresholds, and a placer that logs by process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from prov.worktree import checkout as checkouts
from prov.worktree import parallel
from prov.worktree.attributes import FileNode
from prov.worktree.checkout import PROGRAMS
from prov.worktree.placer import Placer

HERE = os.getpid()


@dataclass
class Sharing:
    """Sets the thresholds for sharing folders and for a crowd of files; counts shared checkouts."""

    monkeypatch: pytest.MonkeyPatch
    shared: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        real = parallel.by_turns

        def counting(work: list[object], *rest: object) -> object:
            self.shared.append(len(work))
            return real(work, *rest)  # type: ignore[arg-type]

        self.monkeypatch.setattr(checkouts, "by_turns", counting)

    def since(self, count: int, *, crowd: int = checkouts.CROWD) -> None:
        self.monkeypatch.setattr(checkouts, "SHARE_FROM", count)
        self.monkeypatch.setattr(checkouts, "CROWD", crowd)


@pytest.fixture
def sharing(monkeypatch: pytest.MonkeyPatch, two_processors: None) -> Sharing:
    return Sharing(monkeypatch)


@dataclass
class Noting:
    """A placer that logs the placed files of both processes and calls a function before each."""

    inner: Placer
    log: Path
    before: Callable[[bytes], object] = lambda path: None
    shares: bool = field(init=False)

    def __post_init__(self) -> None:
        self.shares = self.inner.shares

    @property
    def notes(self) -> list[tuple[bytes, str]]:
        return self.inner.notes

    @notes.setter
    def notes(self, notes: list[tuple[bytes, str]]) -> None:
        self.inner.notes = notes

    def place(self, node: FileNode, path: bytes, folder: int) -> None:
        self.before(path)
        self.inner.place(node, path, folder)
        with open(self.log, "ab", buffering=0) as stream:
            stream.write(b"%d %s\n" % (os.getpid(), path))

    def placed(self) -> list[bytes]:
        return [line.split(b" ", 1)[1] for line in self.log.read_bytes().splitlines()]

    def processes(self) -> set[bytes]:
        return {line.split(b" ", 1)[0] for line in self.log.read_bytes().splitlines()}


def lines(paths: list[bytes]) -> list[bool]:
    """Return for each path whether it is in a folder of programs."""
    return [any(part in PROGRAMS for part in path.split(b"/")[:-1]) for path in paths]


OnlyThere = Callable[[Callable[[], object]], Callable[[bytes], None]]


@pytest.fixture
def only_there() -> Iterator[OnlyThere]:
    """Wrap a function that only the second process calls, while the first one waits."""
    reader, writer = os.pipe()
    waited = False

    def make(action: Callable[[], object]) -> Callable[[bytes], None]:
        def act(path: bytes) -> None:
            nonlocal waited
            if os.getpid() != HERE:
                os.write(writer, b"x")
                action()
            elif not waited:
                os.read(reader, 1)
                waited = True

        return act

    yield make
    os.close(reader)
    os.close(writer)
