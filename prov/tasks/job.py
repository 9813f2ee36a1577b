"""Plain data passed between the scheduler and workers: a task's job and its result."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from prov.recipes.graph import Graph, Node
from prov.records.ids import CommitId, OutputId, StaticKey, TaskHash
from prov.records.keys import TaskKey
from prov.store.objects import Oid
from prov.store.odb import ObjectWriter
from prov.store.repository import Store
from prov.tasks.sandbox import HOSTTOOLS, TaskPaths, place_text, seen_workdir
from prov.tasks.taskhash import OwnInputs
from prov.worktree.attributes import Pair, TreeWriter
from prov.worktree.folders import ScannedFile
from prov.worktree.merge import Owned
from prov.worktree.path_tokens import TokenPaths
from prov.worktree.verify import Mismatch

if TYPE_CHECKING:
    from prov.reads.strace import Strace

Status = Literal["ran", "failed", "done by another"]


class RunScript(Protocol):
    """Runs a script in a sysroot with that sysroot's environment.

    Returns the exit status and the output.
    """

    def __call__(self, script: str, directory: Path) -> tuple[int, bytes]: ...


class ComposedSysroot(Protocol):
    """A composed sysroot: its tree, the paths of all folders in it, and notes for the user."""

    @property
    def pair(self) -> Pair: ...

    @property
    def folders(self) -> Collection[bytes]: ...

    @property
    def notes(self) -> tuple[str, ...]: ...


class Composer(Protocol):
    """Composes and verifies sysroots."""

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
    """Provides tasks' own inputs, from recipes or from records."""

    def own(self, node: Node, sink: TreeWriter) -> OwnInputs: ...


@dataclass(frozen=True, slots=True)
class Workspace:
    """The data shared by all tasks of a build."""

    store: Store
    inputs: TaskInputs
    sysroots: Composer
    work: Path
    """The folder that contains all WORKDIRs."""
    sandbox: str | None
    """The path of bwrap, or None."""
    alias: str = ""
    """For a scratch workspace, a name that separates its refs and caches; empty otherwise."""
    keeps: bool = True
    """Whether a task's output is recorded as the result of its task hash."""

    def workdir(self, node: Node, chain: str) -> Path:
        return self.work / node.arch / node.recipe.name / chain

    def place_in(self, graph: Graph) -> Callable[[TaskKey], bytes]:
        """Return a function that returns the paths to which a task's output is tied.

        They matter only for an output that is not relocatable.
        """

        def place(key: TaskKey) -> bytes:
            node, chain = graph.nodes[key], graph.chain(key)
            if self.sandbox is not None:
                return place_text(seen_workdir(node.arch, node.recipe.name, chain), HOSTTOOLS)
            return place_text(str(self.workdir(node, chain)), str(self.store.cache / "toolchains"))

        return place


@dataclass(frozen=True, slots=True)
class Taken:
    """An output used by a task: the producing task, the output's id and its folders."""

    key: TaskKey
    output: OutputId
    paths: tuple[bytes, ...] = ()
    native: bool = False
    direct: bool = False
    """Whether it is used from a folder of its own, never from a sysroot."""


@dataclass(frozen=True, slots=True)
class Job:
    """One task to run, with everything it starts from."""

    node: Node
    chain: str
    own: OwnInputs
    edges: Mapping[str, Mapping[str, str]]
    static_key: StaticKey
    task_paths: TaskPaths
    after: tuple[CommitId, ...] = ()
    """Commits of the tasks in whose WORKDIRs this task continues."""
    from_: tuple[Taken, ...] = ()
    needs: tuple[Taken, ...] = ()
    jobs: int = 1
    makeflags: str = ""
    pass_fds: tuple[int, ...] = ()
    force: bool = False
    plain: bool = True
    """Whether its inputs contain nothing stale or made from leftovers.

    Only then may the result be recorded under its static key.
    """
    incremental: bool = False
    """Whether to start from the current contents of the WORKDIR instead of `after`."""
    staged: bool = False
    """Whether sysroots of this build use its output."""
    strace: Strace | None = None
    """Runs the script under strace, to record all its reads; requires a sandbox."""
    sources: tuple[Oid, ...] = ()
    """Outputs whose files may be in its WORKDIR or sysroots, also through earlier tasks."""
    start: CommitId | None = None
    """The commit of its start, if another process merged `after` and `from_` before."""
    held: frozenset[Oid] | None = None
    """Blobs of its inputs that contain irreplaceable build paths; None: those in `sources`."""


@dataclass(slots=True)
class Result:
    """The result of a task."""

    key: TaskKey
    status: Status
    task_hash: TaskHash
    output: OutputId | None = None
    """None for a failed task."""
    commit: CommitId | None = None
    number: int = 0
    """The number of the run, as in its tag."""
    seconds: float = 0.0
    script_seconds: float = 0.0
    """The part of `seconds` used by the task's script."""
    place: str = ""
    """The name of the machine that ran it; empty for this one."""
    added: int = 0
    """Bytes added to the store."""
    problem: str = ""
    environment: bool = False
    """Whether the task did not cause the problem (for example a full disk)."""
    stray_write: bool = False
    """Whether the problem is a write into the task's sysroots."""
    log: str = ""
    log_tail: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)
    """Hints for the user."""
    notes: list[str] = field(default_factory=list)
