"""Build and parse the names of all refs that prov writes.

Each kind of ref is a class. Its `FORM` shows the name, with fields in capitals; docs/store.md lists
the same forms. `str(ref)` is the name of a ref, and `parse_ref(name)` returns the ref. Prefixes,
for listing refs, end with a slash.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from prov.records.ids import CommitId, StaticKey, TaskHash, TreeId
from prov.records.keys import TaskKey
from prov.store.objects import Oid
from prov.store.refs import HEAD_BRANCH

REFS = "refs/"
BRANCHES = "refs/heads/"
TAGS = "refs/tags/"
FAILED = "refs/tags/failed/"
OUTSIDE = "refs/tags/outside/"
RECORDS = "refs/prov/record/"
OUTPUTS = "refs/prov/output/"
STATICS = "refs/prov/static/"
CLEANED = "refs/prov/cleaned/"
WORKDIRS = "refs/prov/workdir/"
DIRECTORIES = "refs/prov/workdir/plain/"
SCRATCHES = "refs/prov/aside/"
TOOLCHAINS = "refs/prov/toolchain/"
LABELS = "refs/prov/label/"
PINS = "refs/prov/pin/"
OWN = "refs/prov/"
"""All of prov's refs except tags and branches."""

BUILDS = f"refs/heads/{HEAD_BRANCH}"
"""The history of builds."""
DEPLOYED = "refs/prov/deployed"
"""The contents of the deploy directory."""
DEPLOYING = "refs/prov/deploying"
"""The contents of the deploy directory after a running deployment; deleted at its end."""

REMOTE_INDEX = "refs/heads/prov/index"
REMOTE_CONTENT = "refs/heads/prov/content"
REMOTE_INCOMING = "refs/heads/prov/incoming/"
REMOTE_CLAIMS = "refs/heads/prov/claims/"
"""Branches of a remote served by git; a store never has them."""


@dataclass(frozen=True, slots=True)
class RunRef:
    """The tag of a task's run: its task commit."""

    FORM: ClassVar = "refs/tags/RECIPE/TASK/HASH/N"
    FAILED_FORM: ClassVar = "refs/tags/failed/RECIPE/TASK/HASH/N"

    key: TaskKey
    task_hash: TaskHash
    number: int
    """The number of the run for this task hash, from 1."""
    failed: bool = False

    @property
    def prefix(self) -> str:
        """The name without its number."""
        folder = FAILED if self.failed else TAGS
        return f"{folder}{self.key.path}/{self.task_hash.hex()}"

    @property
    def tag(self) -> str:
        """The name below `refs/tags/`, for users."""
        return str(self).removeprefix(TAGS)

    @property
    def record(self) -> RecordRef:
        """The ref that keeps the record after the WORKDIR was deleted."""
        return RecordRef(self.key, self.task_hash, self.number)

    def __str__(self) -> str:
        return f"{self.prefix}/{self.number}"


@dataclass(frozen=True, slots=True)
class RecordRef:
    """The record of a run whose WORKDIR was collected, is lost, or was never in this store."""

    FORM: ClassVar = "refs/prov/record/RECIPE/TASK/HASH/N"

    key: TaskKey
    task_hash: TaskHash
    number: int

    @property
    def prefix(self) -> str:
        """The name without its number."""
        return f"{RECORDS}{self.key.path}/{self.task_hash.hex()}"

    @property
    def run(self) -> RunRef:
        """The tag of the run, which may have been deleted."""
        return RunRef(self.key, self.task_hash, self.number)

    def __str__(self) -> str:
        return f"{self.prefix}/{self.number}"


@dataclass(frozen=True, slots=True)
class OutsideRef:
    """The tag of a WORKDIR state not made by a task."""

    FORM: ClassVar = "refs/tags/outside/ARCH/RECIPE/CHAIN/N"

    arch: str
    recipe: str
    chain: str
    number: int

    @property
    def prefix(self) -> str:
        """The name without its number."""
        return f"{OUTSIDE}{self.arch}/{self.recipe}/{self.chain}"

    def __str__(self) -> str:
        return f"{self.prefix}/{self.number}"


@dataclass(frozen=True, slots=True)
class OutputRef:
    """The output recorded for a task hash. A task is up to date if this ref exists."""

    FORM: ClassVar = "refs/prov/output/RECIPE/TASK/HASH"

    key: TaskKey
    task_hash: TaskHash

    def __str__(self) -> str:
        return f"{OUTPUTS}{self.key.path}/{self.task_hash.hex()}"


@dataclass(frozen=True, slots=True)
class StaticRef:
    """The output last recorded under a static key."""

    FORM: ClassVar = "refs/prov/static/RECIPE/TASK/KEY"

    key: TaskKey
    static_key: StaticKey

    def __str__(self) -> str:
        return f"{STATICS}{self.key.path}/{self.static_key.hex()}"


@dataclass(frozen=True, slots=True)
class CleanedRef:
    """A mark that the shared state of a BitBake task was cleaned."""

    FORM: ClassVar = "refs/prov/cleaned/RECIPE/TASK/KEY"

    key: TaskKey
    cleaned: Oid

    def __str__(self) -> str:
        return f"{CLEANED}{self.key.path}/{self.cleaned.hex()}"


@dataclass(frozen=True, slots=True)
class WorkdirRef:
    """The commit last placed in a WORKDIR on disk."""

    FORM: ClassVar = "refs/prov/workdir/ARCH/RECIPE/CHAIN"

    arch: str
    recipe: str
    chain: str

    def __str__(self) -> str:
        return f"{WORKDIRS}{self.arch}/{self.recipe}/{self.chain}"


@dataclass(frozen=True, slots=True)
class DirectoryRef:
    """The last state of a directory recorded by `prov capture` or `prov run`.

    For a command of `prov run --cached`, the state after its last run, in any directory.
    """

    FORM: ClassVar = "refs/prov/workdir/plain/ID"

    path_id: Oid
    """SHA-1 of the directory's path, or of a command with its environment."""

    def __str__(self) -> str:
        return f"{DIRECTORIES}{self.path_id.hex()}"


@dataclass(frozen=True, slots=True)
class ScratchRef:
    """The WORKDIR of a task in a scratch workspace (`prov rerun`); deleted at the end."""

    FORM: ClassVar = "refs/prov/aside/ID/ARCH/RECIPE/CHAIN"

    alias: str
    arch: str
    recipe: str
    chain: str

    def __str__(self) -> str:
        return f"{SCRATCHES}{self.alias}/{self.arch}/{self.recipe}/{self.chain}"


@dataclass(frozen=True, slots=True)
class ToolchainRef:
    """A captured host toolchain, by its tree."""

    FORM: ClassVar = "refs/prov/toolchain/ID"

    tree: TreeId

    def __str__(self) -> str:
        return f"{TOOLCHAINS}{self.tree.hex()}"


@dataclass(frozen=True, slots=True)
class LabelRef:
    """The build with a label."""

    FORM: ClassVar = "refs/prov/label/NAME"

    label: str

    def __str__(self) -> str:
        return f"{LABELS}{self.label}"


@dataclass(frozen=True, slots=True)
class PinRef:
    """A pinned build, which `prov gc` keeps."""

    FORM: ClassVar = "refs/prov/pin/ID"

    build: CommitId

    def __str__(self) -> str:
        return f"{PINS}{self.build.hex()}"


@dataclass(frozen=True, slots=True)
class SingleRef:
    """A ref with a fixed name."""

    name: str

    def __str__(self) -> str:
        return self.name


def workdir_ref(arch: str, recipe: str, chain: str, alias: str = "") -> WorkdirRef | ScratchRef:
    """Return the ref of a task's WORKDIR; with an alias, in that scratch workspace."""
    if alias:
        return ScratchRef(alias, arch, recipe, chain)
    return WorkdirRef(arch, recipe, chain)


def outputs_of(key: TaskKey) -> str:
    """Return the prefix of the refs for a task's outputs."""
    return f"{OUTPUTS}{key.path}/"


def runs_of(key: TaskKey) -> str:
    """Return the prefix of the tags for a task's runs."""
    return f"{TAGS}{key.path}/"


NumberedRef = RunRef | RecordRef | OutsideRef
Ref = (
    RunRef
    | RecordRef
    | OutsideRef
    | OutputRef
    | StaticRef
    | CleanedRef
    | WorkdirRef
    | DirectoryRef
    | ScratchRef
    | ToolchainRef
    | LabelRef
    | PinRef
    | SingleRef
)

_SINGLE = (BUILDS, DEPLOYED, DEPLOYING)
FORMS = (
    RunRef.FORM,
    RunRef.FAILED_FORM,
    OutsideRef.FORM,
    OutputRef.FORM,
    StaticRef.FORM,
    CleanedRef.FORM,
    WorkdirRef.FORM,
    DirectoryRef.FORM,
    *_SINGLE,
    ToolchainRef.FORM,
    RecordRef.FORM,
    LabelRef.FORM,
    PinRef.FORM,
    ScratchRef.FORM,
)
"""The forms of all ref names."""

_ID = re.compile(r"[0-9a-f]{40}")
_NUMBER = re.compile(r"[1-9][0-9]{0,17}")


def parse_ref(name: str) -> Ref | None:
    """Parse the name of a ref; return None if it is not one of prov's."""
    if name in _SINGLE:
        return SingleRef(name)
    match name.split("/"):
        case ["refs", "tags", "failed", recipe, task, text, number]:
            return _run(recipe, task, text, number, failed=True)
        case ["refs", "tags", "outside", arch, recipe, chain, number]:
            return _outside(arch, recipe, chain, number)
        case ["refs", "tags", recipe, task, text, number]:
            return _run(recipe, task, text, number, failed=False)
        case ["refs", "prov", kind, *parts]:
            return _parse_own(kind, parts)
    return None


def parse_run(name: str) -> RunRef | None:
    """Parse the name of a run's tag; return None for other refs."""
    ref = parse_ref(name)
    return ref if isinstance(ref, RunRef) else None


def _parse_own(kind: str, parts: list[str]) -> Ref | None:
    if not all(parts):
        return None
    match kind, parts:
        case "record", [recipe, task, text, number]:
            run = _run(recipe, task, text, number, failed=False)
            return run.record if run is not None else None
        case "output" | "static" | "cleaned", [recipe, task, text]:
            return _task_ref(kind, TaskKey.of(recipe, task), text)
        case "workdir", ["plain", text]:
            return DirectoryRef(bytes.fromhex(text)) if _ID.fullmatch(text) else None
        case "workdir", [arch, recipe, chain]:
            return WorkdirRef(arch, recipe, chain) if arch != "plain" else None
        case "aside", [alias, arch, recipe, chain]:
            return ScratchRef(alias, arch, recipe, chain)
        case "toolchain", [text]:
            return ToolchainRef(TreeId(bytes.fromhex(text))) if _ID.fullmatch(text) else None
        case "label", [label]:
            return LabelRef(label)
        case "pin", [text]:
            return PinRef(CommitId(bytes.fromhex(text))) if _ID.fullmatch(text) else None
    return None


def _run(recipe: str, task: str, text: str, number: str, *, failed: bool) -> RunRef | None:
    if not (recipe and task and _ID.fullmatch(text) and _NUMBER.fullmatch(number)):
        return None
    if not failed and recipe in ("failed", "outside"):
        return None
    key = TaskKey.of(recipe, task)
    return RunRef(key, TaskHash(bytes.fromhex(text)), int(number), failed)


def _outside(arch: str, recipe: str, chain: str, number: str) -> OutsideRef | None:
    if not (arch and recipe and chain and _NUMBER.fullmatch(number)):
        return None
    return OutsideRef(arch, recipe, chain, int(number))


def _task_ref(kind: str, key: TaskKey, text: str) -> OutputRef | StaticRef | CleanedRef | None:
    if not _ID.fullmatch(text):
        return None
    oid = bytes.fromhex(text)
    if kind == "output":
        return OutputRef(key, TaskHash(oid))
    if kind == "static":
        return StaticRef(key, StaticKey(oid))
    return CleanedRef(key, oid)
