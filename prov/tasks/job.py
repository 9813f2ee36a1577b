"""What a task needs in order to run, and what comes back: plain data between the scheduler and a
worker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from prov.recipes.graph import Graph, Node
from prov.records.ids import CommitId, OutputId, StaticKey, TaskHash
from prov.records.keys import TaskKey
from prov.store.objects import Oid
from prov.store.odb import ObjectWriter
from prov.store.repository import Store
from prov.tasks.sandbox import HOSTTOOLS, TaskPaths, place_text, seen_workdir
from prov.tasks.taskhash import OwnInputs
from prov.worktree.attributes import Pair, TreeWriter
from prov.worktree.merge import Owned
from prov.worktree.path_tokens import TokenPaths
from prov.worktree.scan import ScannedFile
from prov.worktree.verify import Mismatch

Status = Literal["ran", "failed", "done by another"]


class RunScript(Protocol):
    """Runs a script of a sysroot with that sysroot's environment; returns exit status and what it
    printed.
    """

    def __call__(self, script: str, directory: Path) -> tuple[int, bytes]: ...


class ComposedSysroot(Protocol):
    """A sysroot that is ready: its tree, and what somebody should know of how it was made."""

    @property
    def pair(self) -> Pair: ...

    @property
    def notes(self) -> tuple[str, ...]: ...


class Composer(Protocol):
    """Makes directories sysroots of packages, and guards them."""

    def compose(
        self,
        writer: ObjectWriter,
        directory: Path,
        packages: Sequence[Owned],
        *,
        wins: Mapping[bytes, str],
        places: TokenPaths,
        run: RunScript,
        environment: Mapping[str, str],
    ) -> ComposedSysroot: ...

    def check(
        self, writer: ObjectWriter, directory: Path, *, places: TokenPaths | None
    ) -> list[Mismatch]: ...

    def forget(self, directory: Path) -> None: ...

    def adopt(self, files: Iterable[tuple[Path, Oid, ScannedFile]]) -> None: ...


class TaskInputs(Protocol):
    """Tells tasks' own inputs: from recipes, or as they were recorded."""

    def own(self, node: Node, sink: TreeWriter) -> OwnInputs: ...


@dataclass(frozen=True, slots=True)
class Workspace:
    """What all tasks of a build share."""

    store: Store
    inputs: TaskInputs
    sysroots: Composer
    work: Path
    """The folder of all WORKDIRs."""
    sandbox: str | None
    """Bubblewrap's program, or None."""
    alias: str = ""
    """Of a build aside, whose WORKDIRs are in a folder of its own: what keeps its refs and memory
    apart.
    """
    keeps: bool = True
    """Whether what a task gives is recorded as its task hash's result."""

    def workdir(self, node: Node, chain: str) -> Path:
        return self.work / node.arch / node.recipe.name / chain

    def place_in(self, graph: Graph) -> Callable[[TaskKey], bytes]:
        """Return a function that tells of a task what an output is tied to that keeps a path of its
        place.
        """

        def place(key: TaskKey) -> bytes:
            node, chain = graph.nodes[key], graph.chain(key)
            if self.sandbox is not None:
                return place_text(seen_workdir(node.arch, node.recipe.name, chain), HOSTTOOLS)
            return place_text(str(self.workdir(node, chain)), str(self.store.cache / "toolchains"))

        return place


@dataclass(frozen=True, slots=True)
class Taken:
    """An output that a task takes: of which task, its id, the folders in it, and for `needs` the
    sysroot it goes to.
    """

    key: TaskKey
    output: OutputId
    paths: tuple[bytes, ...] = ()
    native: bool = False
    direct: bool = False
    """Used from a folder of its own, never linked into a sysroot."""


@dataclass(frozen=True, slots=True)
class Job:
    """One task that is to run, with all that it starts from."""

    node: Node
    chain: str
    own: OwnInputs
    edges: Mapping[str, Mapping[str, str]]
    static_key: StaticKey
    task_paths: TaskPaths
    after: tuple[CommitId, ...] = ()
    """Task commits whose WORKDIR is taken over."""
    from_: tuple[Taken, ...] = ()
    needs: tuple[Taken, ...] = ()
    jobs: int = 1
    makeflags: str = ""
    pass_fds: tuple[int, ...] = ()
    force: bool = False
    plain: bool = True
    """Nothing that it takes is stale or made from leftovers, so that its static key may stand for
    the result.
    """
    incremental: bool = False
    """Build on what is in the WORKDIR instead of `after`."""
    staged: bool = False
    """Its output goes into sysroots of this build."""
    sources: tuple[Oid, ...] = ()
    """Outputs of which something may be in its WORKDIR or its sysroots, by itself or by a task that
    it comes after.
    """


@dataclass(slots=True)
class Result:
    """How a task went."""

    key: TaskKey
    status: Status
    task_hash: TaskHash
    output: OutputId | None = None
    """None for a failed one."""
    commit: CommitId | None = None
    number: int = 0
    """Of the run, as its tag has it."""
    seconds: float = 0.0
    script_seconds: float = 0.0
    """Of these, what the task's own script took."""
    added: int = 0
    """Bytes added to the store."""
    problem: str = ""
    environment: bool = False
    """The problem is no fault of the task: a full disk, say."""
    stray_write: bool = False
    """The problem is that somebody wrote where it works."""
    log: str = ""
    log_tail: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)
    """What would probably help."""
    notes: list[str] = field(default_factory=list)
