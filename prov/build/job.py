"""What a task needs in order to run, and what comes back: plain data between the scheduler and a worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from prov.build.graph import Node
from prov.build.sandbox import Room
from prov.build.taskhash import InputsReader, OwnInputs
from prov.store.objects import Oid
from prov.store.odb import ObjectWriter
from prov.store.repository import Store
from prov.worktree.attributes import Pair
from prov.worktree.exclude import Exclude
from prov.worktree.merge import Owned

TEMP = "temp"
SYSROOT, SYSROOT_NATIVE = "recipe-sysroot", "recipe-sysroot-native"

Status = Literal["ran", "failed", "done by another"]


class Composer(Protocol):
    """Makes a directory a sysroot of packages and tells its tree."""

    def compose(self, writer: ObjectWriter, directory: Path, packages: Sequence[Owned]) -> Pair: ...


@dataclass(frozen=True, slots=True)
class Site:
    """What all tasks of a build share."""

    store: Store
    inputs: InputsReader
    sysroots: Composer
    work: Path
    """The folder of all WORKDIRs."""
    sandbox: str | None
    """Bubblewrap's program, or None."""
    exclude: Exclude
    xattrs: tuple[str, ...]
    environment: Mapping[str, str]
    """The caller's variables that are let through."""

    def workdir(self, node: Node, chain: str) -> Path:
        return self.work / node.arch / node.recipe.name / chain


@dataclass(frozen=True, slots=True)
class Taken:
    """An output that a task takes: of which task, its id, the folders in it, and for `needs` the sysroot it goes to."""

    key: str
    output: Oid
    paths: tuple[bytes, ...] = ()
    native: bool = False


@dataclass(frozen=True, slots=True)
class Job:
    """One task that is to run, with all that it starts from."""

    node: Node
    chain: str
    own: OwnInputs
    edges: Mapping[str, Mapping[str, str]]
    static_key: Oid
    room: Room
    after: tuple[Oid, ...] = ()
    """Task commits whose WORKDIR is taken over."""
    from_: tuple[Taken, ...] = ()
    needs: tuple[Taken, ...] = ()
    jobs: int = 1
    makeflags: str = ""
    pass_fds: tuple[int, ...] = ()
    force: bool = False
    plain: bool = True
    """Nothing that it takes is stale or made from leftovers, so that its static key may stand for the result."""
    incremental: bool = False
    """Build on what is in the WORKDIR instead of `after`."""


@dataclass(slots=True)
class Result:
    """How a task went."""

    key: str
    status: Status
    task_hash: Oid
    output: Oid | None = None
    """None for a failed one."""
    commit: Oid | None = None
    number: int = 0
    """Of the run, as its tag has it."""
    seconds: float = 0.0
    script_seconds: float = 0.0
    """Of these, what the task's own script took."""
    added: int = 0
    """Bytes added to the store."""
    problem: str = ""
    log: str = ""
    log_tail: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
