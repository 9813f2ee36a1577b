"""Recording a task: its WORKDIR as a commit after the one before, its inputs, log and output.

Tasks of one recipe may run at once in one WORKDIR. What belongs to another task that is still
running is left as it was last recorded; of the rest a task gets whatever changed since, and its
record names the tasks that ran beside it.
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from prov.bitbake.messages import EndRequest, TaskNames, read_faked_body
from prov.bitbake.signature import read_signature, recipe_name, write_inputs
from prov.bitbake.sysroots import composed
from prov.errors import CaptureError, RefConflict
from prov.files import locked, read_cache, write_cache
from prov.records.entries import DATED, SCRIPT, SYSROOT_OF
from prov.records.ids import CommitId, OutputId, StaticKey, TaskHash
from prov.records.keys import TaskKey
from prov.records.lookup import Records, new_run
from prov.records.output import Output
from prov.records.refs import CleanedRef, OutputRef, OutsideRef, StaticRef, WorkdirRef
from prov.records.run import Run, RunIds, Start, author, empty_start, write_run, write_workdir
from prov.store.objects import Oid
from prov.store.odb import ObjectWriter
from prov.store.refs import RefUpdate
from prov.store.repository import Store
from prov.sysroot.state import path_digest
from prov.worktree.attributes import EMPTY, Pair, at_path, nest, put_at
from prov.worktree.exclude import Exclude
from prov.worktree.scan import Faked
from prov.worktree.snapshot import Snapshot, capture, remember

LEFT_OUT = ("temp", "pseudo", "recipe-sysroot", "recipe-sysroot-native", "pkgdata-sysroot")
"""Of a WORKDIR's top: BitBake's and pseudo's own, and what is composed of others' outputs."""
PASSING = re.compile(r"sstate-(build|install)-")
"""Folders that are there while shared state is packed or unpacked."""
ATTEMPTS = 5
"""How often a WORKDIR that changes under the capture is looked at again."""
HASH_FACT = "bitbake-taskhash"
UNIHASH_FACT = "bitbake-unihash"
STAMP_FACT = "stamp"
LINE_FACT = "line"
"""The ref of the WORKDIR's line of history."""
WORKDIR_FACT = "workdir"
SETSCENE_FACT = "setscene"
FAKEROOT_FACT = "fakeroot"


@dataclass(frozen=True, slots=True)
class BuildTask:
    """A task of a build, as its process names it."""

    mc: str
    pn: str
    pv: str
    task: str
    setscene: bool
    workdir: Path
    arch: str
    owned: tuple[str, ...]
    """Directories in WORKDIR that belong to it."""

    @staticmethod
    def of(names: TaskNames) -> BuildTask:
        """Return the task that sent a request. Raises ProvError for a name that no ref can have."""
        task = BuildTask(
            mc=names["mc"],
            pn=names["pn"],
            pv=names["pv"],
            task=names["task"],
            setscene=names["setscene"],
            workdir=Path(names["workdir"]),
            arch=names["arch"],
            owned=tuple(names["owned"]),
        )
        TaskKey.parse(task.key)
        return task

    @property
    def recipe(self) -> str:
        return recipe_name(self.mc, self.pn)

    @property
    def key(self) -> TaskKey:
        return TaskKey.of(self.recipe, self.task)

    @property
    def shared_key(self) -> TaskKey:
        """The key of its shared state, which is the same in all multiconfigs."""
        return TaskKey.of(self.pn, self.task)

    @property
    def line(self) -> WorkdirRef:
        """The ref of what its WORKDIR was last recorded as.

        The WORKDIR of each build directory has one of its own.
        """
        version = re.sub(r"[^\w.+-]", "_", self.workdir.name)
        return WorkdirRef(self.arch, self.recipe, f"{version}-{path_digest(self.workdir)[:8]}")

    @property
    def ref(self) -> str:
        return str(self.line)


def read_faked(remembered: Mapping[bytes, Faked], body: bytes) -> dict[bytes, Faked]:
    """Return what pseudo says of paths, updated by what a process under pseudo sent.

    A path below a listed top that the process did not send is not tracked by pseudo. `.` is the
    whole directory. Raises InvalidMessage.
    """
    message = read_faked_body(body)
    tops = [os.fsencode(top) for top in message.tops]
    tracked = {
        path: faked
        for path, faked in remembered.items()
        if not any(_is_within(path, top) for top in tops)
    }
    for entry in message.paths:
        xattrs = tuple((os.fsencode(name), bytes.fromhex(value)) for name, value in entry.xattrs)
        owner = (entry.uid, entry.gid)
        faked = Faked(entry.inode, entry.mode, owner, entry.rdev, xattrs)
        tracked[os.fsencode(entry.path)] = faked
    return tracked


def _is_within(path: bytes, top: bytes) -> bool:
    return top == b"." or path == top or path.startswith(top + b"/")


@dataclass(slots=True)
class WorkdirCapture:
    """A WORKDIR during one capture."""

    store: Store
    task: BuildTask
    writer: ObjectWriter

    @property
    def memory(self) -> Path:
        return _memory(self.store, self.task.workdir)

    @property
    def _faked_memory(self) -> Path:
        return self.memory.with_name(self.memory.name + ".faked")

    def before(self) -> Start:
        """Return the WORKDIR as it was last recorded."""
        commit = self.store.refs.get(self.task.ref)
        if commit is None:
            return empty_start(self.writer)
        return Start(CommitId(commit), Records(self.store).workdir(commit))

    def faked(self) -> dict[bytes, Faked]:
        """Return what pseudo last said of this WORKDIR."""
        rows = read_cache(self._faked_memory) or {}
        return {path: Faked(*row) for path, row in rows.items()}

    def remember_faked(self, body: bytes) -> None:
        """Remember what pseudo says now of the directories that a task's process looked at."""
        rows = {path: tuple(faked) for path, faked in read_faked(self.faked(), body).items()}
        self._faked_memory.parent.mkdir(parents=True, exist_ok=True)
        write_cache(self._faked_memory, rows)

    def look(self, before: Pair, others: Iterable[str] = ()) -> tuple[Snapshot, Pair]:
        """Capture the WORKDIR but for directories that belong to others.

        Those stay in the tree as they were `before`. Raises CaptureError if the WORKDIR changes
        in each of ATTEMPTS captures.
        """
        faked = self.faked()
        for attempt in range(ATTEMPTS):
            try:
                snapshot = self._capture(others, faked)
                break
            except CaptureError:  # another task is running in it
                if attempt + 1 == ATTEMPTS:
                    raise
                time.sleep(0.2 * (attempt + 1))
        pair = snapshot.pair
        for path in map(os.fsencode, others):
            pair = put_at(self.writer, pair, path, at_path(self.writer, before, path))
        return snapshot, pair

    def _capture(self, others: Iterable[str], faked: Mapping[bytes, Faked]) -> Snapshot:
        workdir = self.task.workdir
        passing = [name for name in os.listdir(workdir) if PASSING.match(name)]
        exclude = Exclude(f"/{path}/" for path in (*LEFT_OUT, *passing, *others))
        return capture(
            self.store,
            workdir,
            self.writer,
            memory=self.memory,
            exclude=exclude,
            faked=faked,
            live=True,
        )


def workdir_lock(store: Store, workdir: Path) -> AbstractContextManager[None]:
    """Return the lock of a WORKDIR: one process at a time captures it or restores it."""
    return locked(store.cache / "locks" / f"bitbake-{path_digest(workdir)}")


def begin(store: Store, task: BuildTask) -> None:
    """Record what changed in a WORKDIR outside any task, before a task runs in it alone."""
    with workdir_lock(store, task.workdir), store.objects.writer() as writer:
        workdir = WorkdirCapture(store, task, writer)
        before = workdir.before()
        snapshot, pair = workdir.look(before.pair) if task.workdir.is_dir() else (None, EMPTY)
        if pair == before.pair:
            return
        if snapshot is None or _is_empty(snapshot):
            start = empty_start(writer)  # cleared, as do_clean does: nothing to keep
            writer.finish()
            store.refs.update(RefUpdate(task.ref, start.commit))
            return
        commit = write_workdir(
            writer, pair, before.commit, author(time.time()), "changed outside any task"
        )
        writer.finish()
        tag = _next_outside(store, task)
        store.refs.update(RefUpdate(str(tag), commit, None), RefUpdate(task.ref, commit))
        remember(snapshot, workdir.memory)


def _is_empty(snapshot: Snapshot) -> bool:
    top = snapshot.folders[b""]
    return not (top.entries or top.folders)


def _next_outside(store: Store, task: BuildTask) -> OutsideRef:
    line = task.line
    first = OutsideRef(line.arch, line.recipe, line.chain, 1)
    return replace(first, number=store.refs.last_number(first.prefix) + 1)


@dataclass(frozen=True, slots=True)
class Packed:
    """An object of shared state."""

    key: Oid
    """Its static key: a digest of the name that BitBake gives it."""
    pair: Pair
    dated: Oid | None
    """Its attributes with mtimes, which are no part of an output."""
    cleaned: Oid
    """The id of the mark that the task's objects were cleaned."""
    taken: bool = False
    """It existed before."""

    @property
    def ids(self) -> list[str]:
        """The ids as text, by which a task names an object that no ref holds yet."""
        oids = (self.key, self.pair.tree, self.pair.attributes, self.dated, self.cleaned)
        return [oid.hex() if oid is not None else "" for oid in oids]

    @staticmethod
    def of(ids: Sequence[str]) -> Packed | None:
        """Return the object that a request names by `ids`, None if it names none."""
        if not ids:
            return None
        key, tree, attributes, dated, cleaned = (bytes.fromhex(text) for text in ids)
        return Packed(key, Pair(tree, attributes or None), dated or None, cleaned)

    @property
    def facts(self) -> dict[str, str]:
        return {"static-key": self.key.hex()}

    @property
    def extra(self) -> dict[str, Oid]:
        return {DATED.decode(): self.dated} if self.dated is not None else {}


@dataclass(frozen=True, slots=True)
class Captured:
    """A recorded run of a task."""

    key: TaskKey
    task_hash: TaskHash
    output: OutputId | None
    number: int
    commit: Oid
    added: int
    shared: bool = False
    """Its output is the object of shared state that others find."""


@dataclass(frozen=True, slots=True)
class _Findings:
    """All that is read of a task that has ended: from then on its WORKDIR may change."""

    task_hash: TaskHash
    before: Start
    after: Pair
    snapshot: Snapshot
    outside: list[tuple[Snapshot, Path]]
    """Sources outside WORKDIR, each with the path of its memory."""
    log: bytes
    extra: Mapping[str, Pair | Oid | str]


def end(
    store: Store,
    task: BuildTask,
    request: EndRequest,
    body: bytes,
    beside: Mapping[str, tuple[str, ...]],
    packed: Packed | None = None,
    on_read: Callable[[], None] = lambda: None,
) -> Captured:
    """Record what a task left.

    `beside` maps the tasks that ran at the same time to the directories of those still running.
    `packed` is the object of shared state that it made or took, which is its output then.
    `on_read` is called when all that may change has been read: from then on no task need wait.
    Raises ProvError, OSError.
    """
    with workdir_lock(store, task.workdir), store.objects.writer() as writer:
        workdir = WorkdirCapture(store, task, writer)
        if request["faked"] and body:
            workdir.remember_faked(body)
        findings = _read(workdir, request, beside)
        on_read()
        if packed is not None:
            pair = packed.pair
        else:
            pair = _output(writer, task, findings.snapshot, request["outputs"])
        output = Output(pair) if not request["failed"] else None
        shared = _SharedRefs.of(store, task, packed)
        run = _run(workdir, request, beside, findings, output, shared.packed)
        recorded = write_run(writer, run, author(request["ended"]))
        added = writer.total
        writer.finish()
        outputs = []
        if output is not None:
            outputs += shared.updates(recorded)
            if shared.packed is not None or output.pair != EMPTY:
                ref = OutputRef(task.key, findings.task_hash)
                outputs.append(RefUpdate(str(ref), recorded.output_commit))
        number = _add_run(store, run, recorded, task.ref, outputs)
        for snapshot, memory in [(findings.snapshot, workdir.memory), *findings.outside]:
            remember(snapshot, memory)
        return Captured(
            task.key,
            findings.task_hash,
            recorded.output if output is not None else None,
            number,
            recorded.commit,
            added,
            shared.packed is not None,
        )


def _read(
    workdir: WorkdirCapture, request: EndRequest, beside: Mapping[str, tuple[str, ...]]
) -> _Findings:
    store, task, writer = workdir.store, workdir.task, workdir.writer
    inputs = write_inputs(writer, task.recipe, read_signature(Path(request["signature"])))
    before = workdir.before()
    snapshot, after = workdir.look(before.pair, _of_others(task, beside))
    return _Findings(
        task_hash=TaskHash(inputs),
        before=before,
        after=after,
        snapshot=snapshot,
        outside=_outside(store, writer, request["outside"]),
        log=_text(request["log"]),
        extra=_extra(request),
    )


def _of_others(task: BuildTask, beside: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Return the directories of tasks still running that are not the task's own too."""
    paths = {path for owned in beside.values() for path in owned}
    return sorted(
        path
        for path in paths
        if not any(_inside(path, own) or _inside(own, path) for own in task.owned)
    )


@dataclass(frozen=True, slots=True)
class _SharedRefs:
    """The object of shared state that a task's record is to hold, and the refs it is found by."""

    packed: Packed | None
    """None without an object, and if another one has its name: others may have used that one."""
    static: StaticRef | None = None
    cleaned: CleanedRef | None = None
    """The mark to delete, if the task's objects were cleaned."""

    @staticmethod
    def of(store: Store, task: BuildTask, packed: Packed | None) -> _SharedRefs:
        if packed is None:
            return _SharedRefs(None)
        static = StaticRef(task.shared_key, StaticKey(packed.key))
        cleaned = CleanedRef(task.shared_key, packed.cleaned)
        if store.refs.get(str(cleaned)) is not None:
            return _SharedRefs(packed, static, cleaned)
        if not packed.taken and store.refs.get(str(static)) is not None:
            return _SharedRefs(None)
        return _SharedRefs(packed, static)

    def updates(self, recorded: RunIds) -> list[RefUpdate]:
        """Return what makes the object findable."""
        updates = []
        if self.static is not None:
            updates.append(RefUpdate(str(self.static), recorded.output_commit))
        if self.cleaned is not None:
            updates.append(RefUpdate(str(self.cleaned), None))
        return updates


def _run(
    workdir: WorkdirCapture,
    request: EndRequest,
    beside: Mapping[str, tuple[str, ...]],
    findings: _Findings,
    output: Output | None,
    packed: Packed | None,
) -> Run:
    task = workdir.task
    facts = _facts(task, request, beside)
    extra = dict(findings.extra)
    extra |= {f"outside-{number}": part.pair for number, (part, _) in enumerate(findings.outside)}
    if packed is not None:
        facts |= packed.facts
        extra |= packed.extra
    sysroots = {}
    if request["sysroot"]:
        sysroots = composed(workdir.store, workdir.writer, task.workdir)
    return Run(
        key=task.key,
        task_hash=findings.task_hash,
        start=findings.before,
        after=findings.after,
        output=output,
        log=findings.log,
        environment={},
        facts=facts,
        sysroots=sysroots,
        extra=extra,
    )


def _add_run(
    store: Store, run: Run, recorded: RunIds, moved: str, outputs: Sequence[RefUpdate]
) -> int:
    """Give a run its tag, move its WORKDIR's ref and add its outputs, all at once.

    Returns the run's number.
    """
    while True:
        tag = new_run(store, run.key, run.task_hash, recorded.commit, failed=run.output is None)
        try:
            store.refs.update(RefUpdate(moved, recorded.commit), tag, *outputs)
            return int(tag.name.rpartition("/")[2])
        except RefConflict:
            # the same task ran in another build directory just now, and has the number
            if not store.refs.get(tag.name):
                raise


def _inside(path: str, folder: str) -> bool:
    return f"{path}/".startswith(f"{folder}/")


def _text(path: str) -> bytes:
    try:
        return Path(path).read_bytes() if path else b""
    except OSError:  # an empty log is removed
        return b""


def _facts(
    task: BuildTask, request: EndRequest, beside: Mapping[str, tuple[str, ...]]
) -> dict[str, str]:
    facts = {
        "result": "failed" if request["failed"] else "ok",
        "began": f"{request['began']:.3f}",
        "seconds": f"{request['ended'] - request['began']:.3f}",
        "host": socket.gethostname(),
        WORKDIR_FACT: str(task.workdir),
        LINE_FACT: task.ref,
        "version": task.pv,
        HASH_FACT: request["taskhash"],
        UNIHASH_FACT: request["unihash"],
    }
    if task.setscene:
        facts[SETSCENE_FACT] = "taken from shared state"
    if request["faked"]:
        facts[FAKEROOT_FACT] = "yes"
    if request.get("stamp"):
        facts[STAMP_FACT] = request["stamp"]
    if beside:
        facts["beside"] = " ".join(sorted(beside))
    return facts | {f"outside-{number}": path for number, path in enumerate(request["outside"])}


def _output(
    writer: ObjectWriter, task: BuildTask, snapshot: Snapshot, paths: Iterable[str]
) -> Pair:
    """Return what a task gives to shared state, as far as it is in its WORKDIR."""
    contents = {}
    for text in paths:
        path = os.path.relpath(os.path.realpath(text), task.workdir)
        if path == "." or path.startswith(".."):
            continue
        pair = snapshot.output(os.fsencode(path), writer)
        if pair is not None:
            contents[os.fsencode(path)] = pair
    outer = {
        path for path in contents if not any(path.startswith(other + b"/") for other in contents)
    }
    return nest(writer, {path: contents[path] for path in outer}) if outer else EMPTY


def _extra(request: EndRequest) -> dict[str, Pair | Oid | str]:
    """Return what a record has beside the usual: the script that ran, and the sysroots' origin."""
    extra: dict[str, Pair | Oid | str] = {}
    log = request["log"]
    script = re.sub(r"/log\.([^/]*)$", r"/run.\1", log)
    text = _text(script) if script != log else b""
    if text:
        extra[SCRIPT.decode()] = text.decode("utf-8", "surrogateescape")
    if request["sysroot"]:
        extra[SYSROOT_OF.decode()] = "".join(f"{line}\n" for line in request["sysroot"])
    return extra


def _outside(
    store: Store, writer: ObjectWriter, paths: Iterable[str]
) -> list[tuple[Snapshot, Path]]:
    """Capture sources that are outside WORKDIR, a kernel's or a developer's.

    Returns each with the path of its memory.
    """
    exclude = Exclude(("/.git/",))
    snapshots = []
    for path in map(Path, paths):
        memory = _memory(store, path)
        snapshot = capture(store, path, writer, memory=memory, exclude=exclude, live=True)
        snapshots.append((snapshot, memory))
    return snapshots


def _memory(store: Store, path: Path) -> Path:
    return store.cache / "workdirs" / f"bitbake-{path_digest(path)}"
