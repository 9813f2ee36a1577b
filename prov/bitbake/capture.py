"""Record a task: its WORKDIR as a commit on top of the previous one, its inputs, log and output.

Several tasks of a recipe may run in its WORKDIR at the same time. Directories that belong to
another running task keep their last recorded state. All other changes are recorded with the task
that ends first, and its record names the tasks that ran at the same time.
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
from prov.reads.reads import Reads
from prov.records.entries import DATED, READS, SCRIPT, SYSROOT_OF
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
"""Names at the top of a WORKDIR that are not captured.

They hold data of BitBake and pseudo, and trees composed from outputs of other recipes.
"""
PASSING = re.compile(r"sstate-(build|install)-")
"""Folders that exist only while shared state is packed or unpacked."""
NOT_WATCHED = re.compile(
    rb"temp|pseudo|pkgdata-sysroot|sstate-(build|install)-[^/]*"
    rb"|recipe-sysroot(-native)?/(installeddeps|sysroot\.lock)"
)
"""Paths in a WORKDIR of which prov does not list what tasks read: data of BitBake and pseudo."""
ATTEMPTS = 5
"""Maximum number of captures of a WORKDIR that changes while it is read."""
HASH_FACT = "bitbake-taskhash"
UNIHASH_FACT = "bitbake-unihash"
STAMP_FACT = "stamp"
LINE_FACT = "line"
"""Fact: the ref of the WORKDIR's history."""
WORKDIR_FACT = "workdir"
SETSCENE_FACT = "setscene"
FAKEROOT_FACT = "fakeroot"


@dataclass(frozen=True, slots=True)
class BuildTask:
    """A task of a build, as described by the task's own process."""

    mc: str
    pn: str
    pv: str
    task: str
    setscene: bool
    workdir: Path
    arch: str
    owned: tuple[str, ...]
    """Directories in WORKDIR that belong to the task."""

    @staticmethod
    def of(names: TaskNames) -> BuildTask:
        """Return the task that sent a request. Raises ProvError if no ref can have its name."""
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
        """Key of the task's shared state, which is the same in all multiconfigs."""
        return TaskKey.of(self.pn, self.task)

    @property
    def line(self) -> WorkdirRef:
        """Ref of the last recorded state of the task's WORKDIR.

        Each build directory's WORKDIR has its own ref.
        """
        version = re.sub(r"[^\w.+-]", "_", self.workdir.name)
        return WorkdirRef(self.arch, self.recipe, f"{version}-{path_digest(self.workdir)[:8]}")

    @property
    def ref(self) -> str:
        return str(self.line)


def read_faked(remembered: Mapping[bytes, Faked], body: bytes) -> dict[bytes, Faked]:
    """Return pseudo's owners and modes by path: `remembered`, updated from a request's body.

    pseudo does not track a path below one of the body's `tops` that the body does not list. `.` is
    the whole directory. Raises InvalidMessage.
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
        """Return the last recorded state of the WORKDIR."""
        commit = self.store.refs.get(self.task.ref)
        if commit is None:
            return empty_start(self.writer)
        return Start(CommitId(commit), Records(self.store).workdir(commit))

    def faked(self) -> dict[bytes, Faked]:
        """Return the owners and modes that pseudo last reported for this WORKDIR, by path."""
        rows = read_cache(self._faked_memory) or {}
        return {path: Faked(*row) for path, row in rows.items()}

    def remember_faked(self, body: bytes) -> None:
        """Store the owners and modes that a task's process read under pseudo."""
        rows = {path: tuple(faked) for path, faked in read_faked(self.faked(), body).items()}
        self._faked_memory.parent.mkdir(parents=True, exist_ok=True)
        write_cache(self._faked_memory, rows)

    def look(self, before: Pair, others: Iterable[str] = ()) -> tuple[Snapshot, Pair]:
        """Capture the WORKDIR except the directories of other tasks.

        In the returned tree these have their content from `before`. Raises CaptureError if the
        WORKDIR changes during each of ATTEMPTS captures.
        """
        faked = self.faked()
        for attempt in range(ATTEMPTS):
            try:
                snapshot = self._capture(others, faked)
                break
            except CaptureError:  # another task changed the WORKDIR during the capture
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
    """Return the lock of a WORKDIR, which processes hold while they capture or restore it."""
    return locked(store.cache / "locks" / f"bitbake-{path_digest(workdir)}")


def begin(store: Store, task: BuildTask) -> None:
    """Record changes that no task made to a WORKDIR, before a task starts in it."""
    with workdir_lock(store, task.workdir), store.objects.writer() as writer:
        workdir = WorkdirCapture(store, task, writer)
        before = workdir.before()
        snapshot, pair = workdir.look(before.pair) if task.workdir.is_dir() else (None, EMPTY)
        if pair == before.pair:
            return
        if snapshot is None or _is_empty(snapshot):
            start = empty_start(writer)  # a task such as do_clean deleted the content
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
    return top.is_empty


def _next_outside(store: Store, task: BuildTask) -> OutsideRef:
    line = task.line
    first = OutsideRef(line.arch, line.recipe, line.chain, 1)
    return replace(first, number=store.refs.last_number(first.prefix) + 1)


@dataclass(frozen=True, slots=True)
class Packed:
    """An object of shared state."""

    key: Oid
    """Static key: a digest of BitBake's name for the object."""
    pair: Pair
    dated: Oid | None
    """Attributes with mtimes, which an output does not contain."""
    cleaned: Oid
    """Id of the mark that `-c cleansstate` sets for the task's objects."""
    taken: bool = False
    """Whether the object existed before the task, which then only restored it."""

    @property
    def ids(self) -> list[str]:
        """Ids in hexadecimal digits, by which a task names an object that has no ref yet."""
        oids = (self.key, self.pair.tree, self.pair.attributes, self.dated, self.cleaned)
        return [oid.hex() if oid is not None else "" for oid in oids]

    @staticmethod
    def of(ids: Sequence[str]) -> Packed | None:
        """Return the object with these ids, or None if `ids` is empty."""
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
    """Whether a ref makes the output findable as an object of shared state."""


@dataclass(frozen=True, slots=True)
class _Findings:
    """Everything read from a task that has ended. After that its WORKDIR may change."""

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
    *,
    texts: dict[str, Oid] | None = None,
    reads: Reads | None = None,
) -> Captured:
    """Record a task that has ended.

    `beside` maps each task that ran at the same time to its directories, none if it has ended.
    `packed` is the object of shared state that the task made or restored; if given, it is the
    task's output. `on_read` is called once the WORKDIR has been read, when tasks can continue.
    `texts` maps texts in the store to their blobs, and gets those of the inputs. `reads` is what
    the task read, if it is known. Raises ProvError, OSError.
    """
    with workdir_lock(store, task.workdir), store.objects.writer() as writer:
        workdir = WorkdirCapture(store, task, writer)
        if request["faked"] and body:
            workdir.remember_faked(body)
        findings = _read(workdir, request, beside, texts)
        on_read()
        if reads is not None:
            text = reads.encode().decode("ascii")
            findings = replace(findings, extra={**findings.extra, READS.decode(): text})
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
    workdir: WorkdirCapture,
    request: EndRequest,
    beside: Mapping[str, tuple[str, ...]],
    texts: dict[str, Oid] | None,
) -> _Findings:
    store, task, writer = workdir.store, workdir.task, workdir.writer
    signature = read_signature(Path(request["signature"]))
    inputs = write_inputs(writer, task.recipe, signature, texts)
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
    """Return the directories of other running tasks that do not overlap the task's own."""
    paths = {path for owned in beside.values() for path in owned}
    return sorted(
        path
        for path in paths
        if not any(_inside(path, own) or _inside(own, path) for own in task.owned)
    )


@dataclass(frozen=True, slots=True)
class _SharedRefs:
    """An object of shared state for a task's record, and the refs that make it findable."""

    packed: Packed | None
    """None without an object, and if a ref of this name exists: tasks may have used its object."""
    static: StaticRef | None = None
    cleaned: CleanedRef | None = None
    """Mark to delete, if the task's objects were cleaned."""

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
        """Return the ref updates that make the object findable."""
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
    """Tag a run, move its WORKDIR's ref and add its outputs in one transaction.

    Returns the run's number.
    """
    while True:
        tag = new_run(store, run.key, run.task_hash, recorded.commit, failed=run.output is None)
        try:
            store.refs.update(RefUpdate(moved, recorded.commit), tag, *outputs)
            return int(tag.name.rpartition("/")[2])
        except RefConflict:
            # the same task, run in another build directory, took the number in the meantime
            if not store.refs.get(tag.name):
                raise


def _inside(path: str, folder: str) -> bool:
    return f"{path}/".startswith(f"{folder}/")


def _text(path: str) -> bytes:
    try:
        return Path(path).read_bytes() if path else b""
    except OSError:  # BitBake deletes empty logs
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
    """Return the directories in WORKDIR that a task puts into shared state, as a tree."""
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
    """Return a record's additional entries: the script, and the packages in the sysroots."""
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
    """Capture sources outside WORKDIR, such as those of a kernel or of externalsrc.

    Returns each snapshot with the path of its memory.
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
