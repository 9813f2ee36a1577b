"""What a task left, recorded: its WORKDIR as a commit after the one before, its inputs, log and
output beside it.

Tasks of one recipe may run at once in one WORKDIR. What belongs to another one that is still at
work is left as it was last recorded; of the rest a task gets whatever changed since, and its record
names those that ran beside it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prov.bitbake.signature import read_signature, recipe_name, write_inputs
from prov.bitbake.sysroots import composed
from prov.errors import CaptureError, RefConflict
from prov.files import locked, read_cache, write_cache
from prov.records.ids import CommitId, OutputId, StaticKey, TaskHash
from prov.records.keys import TaskKey
from prov.records.lookup import Records, new_run
from prov.records.output import Output
from prov.records.refs import OutputRef, StaticRef, workdir_ref
from prov.records.run import Run, Start, author, empty_start, write_run, write_workdir
from prov.store.objects import Oid
from prov.store.odb import ObjectWriter
from prov.store.refs import RefUpdate
from prov.store.repository import Store
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


def cleaned_ref(key: TaskKey, cleaned: Oid) -> str:
    """Return the ref that says that a task's shared state was cleaned, and is to be made again."""
    return f"refs/prov/cleaned/{key.replace(':', '/')}/{cleaned.hex()}"


@dataclass(frozen=True, slots=True)
class Task:
    """A task of a build, as its process tells of itself."""

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
    def of(told: Mapping[str, Any]) -> Task:
        task = Task(
            mc=told["mc"],
            pn=told["pn"],
            pv=told["pv"],
            task=told["task"],
            setscene=bool(told["setscene"]),
            workdir=Path(told["workdir"]),
            arch=told["arch"],
            owned=tuple(told["owned"]),
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
    def ref(self) -> str:
        """The ref of what its WORKDIR was last recorded as: each build directory's has a line of
        its own.
        """
        version = re.sub(r"[^\w.+-]", "_", self.workdir.name)
        return str(workdir_ref(self.arch, self.recipe, f"{version}-{_name(self.workdir)[:8]}"))


def read_faked(known: Mapping[bytes, Faked], body: bytes) -> dict[bytes, Faked]:
    """Return what pseudo says of paths, updated by what a process under pseudo sent.

    A path below a listed top that the process did not send is not tracked by pseudo. `.` is the
    whole directory.
    """
    tops, entries = json.loads(body)
    walked = tuple(os.fsencode(top) for top in tops)
    kept = {
        path: faked
        for path, faked in known.items()
        if not any(top == b"." or path == top or path.startswith(top + b"/") for top in walked)
    }
    for path, inode, mode, uid, gid, rdev, xattrs in entries:
        values = tuple((os.fsencode(name), bytes.fromhex(value)) for name, value in xattrs)
        kept[os.fsencode(path)] = Faked(inode, mode, (uid, gid), rdev, values)
    return kept


@dataclass(slots=True)
class Place:
    """A WORKDIR, while one task's process is in it."""

    store: Store
    task: Task
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
        """Return what is remembered of what pseudo said of this WORKDIR."""
        kept = read_cache(self._faked_memory) or {}
        return {path: Faked(*each) for path, each in kept.items()}

    def take_faked(self, body: bytes) -> None:
        """Remember what pseudo says now of the directories that a task's process looked at."""
        kept = {path: tuple(each) for path, each in read_faked(self.faked(), body).items()}
        self._faked_memory.parent.mkdir(parents=True, exist_ok=True)
        write_cache(self._faked_memory, kept)

    def look(self, before: Pair, others: Iterable[str] = ()) -> tuple[Snapshot, Pair]:
        """Capture the WORKDIR but for directories that belong to others, which stay as they were
        `before`.
        """
        workdir, faked = self.task.workdir, self.faked()
        for attempt in range(ATTEMPTS):
            passing = [name for name in os.listdir(workdir) if PASSING.match(name)]
            left_out = [*LEFT_OUT, *passing, *others]
            exclude = Exclude(f"/{path}/" for path in left_out)
            try:
                found = capture(
                    self.store,
                    workdir,
                    self.writer,
                    memory=self.memory,
                    exclude=exclude,
                    faked=faked,
                    live=True,
                )
                break
            except CaptureError:  # another task is at work beside
                if attempt + 1 == ATTEMPTS:
                    raise
                time.sleep(0.2 * (attempt + 1))
        pair = found.pair
        for path in map(os.fsencode, others):
            pair = put_at(self.writer, pair, path, at_path(self.writer, before, path))
        return found, pair


def workdir_lock(store: Store, workdir: Path) -> AbstractContextManager[None]:
    """Return the lock of a WORKDIR: who holds it is the only one to capture it, or to put it
    back.
    """
    return locked(store.cache / "locks" / f"bitbake-{_name(workdir)}")


def begin(store: Store, task: Task) -> None:
    """Look at a WORKDIR in which nobody is at work, before a task: what somebody changed there is
    kept.
    """
    with workdir_lock(store, task.workdir), store.objects.writer() as writer:
        place = Place(store, task, writer)
        before = place.before()
        found, pair = place.look(before.pair) if task.workdir.is_dir() else (None, EMPTY)
        if pair == before.pair:
            return
        if found is None or not (found.folders[b""].entries or found.folders[b""].folders):
            start = empty_start(writer)  # cleared, as do_clean does: nothing to keep
            writer.finish()
            store.refs.update(RefUpdate(task.ref, start.commit))
            return
        commit = write_workdir(
            writer, pair, before.commit, author(time.time()), "changed outside any task"
        )
        writer.finish()
        prefix = f"refs/tags/outside/{task.ref.removeprefix('refs/prov/workdir/')}"
        number = store.refs.last_number(prefix) + 1
        store.refs.update(
            RefUpdate(f"{prefix}/{number}", commit, None), RefUpdate(task.ref, commit)
        )
        remember(found, place.memory)


@dataclass(frozen=True, slots=True)
class Packed:
    """An object of shared state."""

    key: Oid
    """What it is found by: an id that is made of the name that BitBake gives it."""
    pair: Pair
    dated: Oid | None
    """Its attributes with mtimes, which are no part of an output."""
    cleaned: Oid
    """The key of what says that the task's objects were cleaned."""
    taken: bool = False
    """It was there before."""

    @property
    def ids(self) -> list[str]:
        """The ids as text, by which a task names an object that no ref holds yet."""
        oids = (self.key, self.pair.tree, self.pair.attributes, self.dated, self.cleaned)
        return [oid.hex() if oid is not None else "" for oid in oids]

    @staticmethod
    def of(told: Mapping[str, Any]) -> Packed | None:
        """Return the object that a request names by `ids`, None if it names none."""
        if not told.get("packed"):
            return None
        key, tree, attributes, dated, cleaned = (bytes.fromhex(text) for text in told["packed"])
        return Packed(key, Pair(tree, attributes or None), dated or None, cleaned)

    @property
    def facts(self) -> dict[str, str]:
        return {"static-key": self.key.hex()}

    @property
    def extra(self) -> dict[str, Oid]:
        return {"dated": self.dated} if self.dated is not None else {}


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


def end(
    store: Store,
    task: Task,
    told: Mapping[str, Any],
    body: bytes,
    beside: Mapping[str, tuple[str, ...]],
    packed: Packed | None = None,
    seen: Callable[[], None] = lambda: None,
) -> Captured:
    """Record what a task left. `beside`: tasks that ran at the same time -> directories of those
    still at work.

    `packed` is the object of shared state that it made or took, which is its output then; what has
    the object's name already stays, as with archives: others may have used it. `seen` is called
    when all that may change has been read: from then on nobody need wait. Raises ProvError,
    OSError.
    """
    with workdir_lock(store, task.workdir), store.objects.writer() as writer:
        place = Place(store, task, writer)
        if told["faked"] and body:
            place.take_faked(body)
        inputs = write_inputs(writer, task.recipe, read_signature(Path(told["signature"])))
        others = sorted({path for paths in beside.values() for path in paths} - set(task.owned))
        others = [
            path
            for path in others
            if not any(_inside(path, own) or _inside(own, path) for own in task.owned)
        ]
        before = place.before()
        found, after = place.look(before.pair, others)
        outside = _outside(store, writer, told["outside"])
        log, extra = _text(told["log"]), _extra(told)
        seen()
        failed = bool(told["failed"])
        pair = packed.pair if packed is not None else _output(writer, task, found, told["outputs"])
        output = None if failed else Output(pair)
        static = (
            str(StaticRef(task.shared_key, StaticKey(packed.key))) if packed is not None else ""
        )
        cleaned = cleaned_ref(task.shared_key, packed.cleaned) if packed is not None else ""
        was_cleaned = packed is not None and store.refs.get(cleaned) is not None
        if (
            packed is not None
            and not packed.taken
            and not was_cleaned
            and store.refs.get(static) is not None
        ):
            packed = None
        run = Run(
            key=task.key,
            task_hash=TaskHash(inputs),
            start=before,
            after=after,
            output=output,
            log=log,
            environment={},
            facts=_facts(task, told, beside) | (packed.facts if packed is not None else {}),
            sysroots=composed(store, writer, task.workdir) if told["sysroot"] else {},
            extra=extra
            | {f"outside-{number}": each.pair for number, (each, _) in enumerate(outside)}
            | (packed.extra if packed is not None else {}),
        )
        recorded = write_run(writer, run, author(told["ended"]))
        added = writer.total
        writer.finish()
        outputs = []
        if output is not None and (packed is not None or output.pair != EMPTY):
            if packed is not None:
                outputs.append(RefUpdate(static, recorded.output_commit))
                outputs += [RefUpdate(cleaned, None)] if was_cleaned else []
            outputs.append(
                RefUpdate(str(OutputRef(task.key, TaskHash(inputs))), recorded.output_commit)
            )
        while True:
            tag = new_run(store, task.key, TaskHash(inputs), recorded.commit, failed=failed)
            try:
                store.refs.update(RefUpdate(task.ref, recorded.commit), tag, *outputs)
                break
            except (
                RefConflict
            ):  # the same task ran in another build directory just now, and has the number
                if not store.refs.get(tag.name):
                    raise
        for each, memory in [(found, place.memory), *outside]:
            remember(each, memory)
        number = int(tag.name.rpartition("/")[2])
        given = None if failed else recorded.output
        return Captured(
            task.key,
            TaskHash(inputs),
            given,
            number,
            recorded.commit,
            added,
            packed is not None,
        )


def _inside(path: str, folder: str) -> bool:
    return f"{path}/".startswith(f"{folder}/")


def _text(path: str) -> bytes:
    try:
        return Path(path).read_bytes() if path else b""
    except OSError:  # an empty log is removed
        return b""


def _facts(
    task: Task, told: Mapping[str, Any], beside: Mapping[str, tuple[str, ...]]
) -> dict[str, str]:
    facts = {
        "result": "failed" if told["failed"] else "ok",
        "began": f"{told['began']:.3f}",
        "seconds": f"{told['ended'] - told['began']:.3f}",
        "host": socket.gethostname(),
        WORKDIR_FACT: str(task.workdir),
        LINE_FACT: task.ref,
        "version": task.pv,
        HASH_FACT: told["taskhash"],
        UNIHASH_FACT: told["unihash"],
    }
    if task.setscene:
        facts[SETSCENE_FACT] = "taken from shared state"
    if told["faked"]:
        facts[FAKEROOT_FACT] = "yes"
    if told.get("stamp"):
        facts[STAMP_FACT] = told["stamp"]
    if beside:
        facts["beside"] = " ".join(sorted(beside))
    return facts | {f"outside-{number}": path for number, path in enumerate(told["outside"])}


def _output(writer: ObjectWriter, task: Task, found: Snapshot, paths: Iterable[str]) -> Pair:
    """Return what a task gives to shared state, as far as it is in its WORKDIR."""
    contents = {}
    for text in paths:
        path = os.path.relpath(os.path.realpath(text), task.workdir)
        pair = (
            None
            if path.startswith("..") or path == "."
            else found.output(os.fsencode(path), writer)
        )
        if pair is not None:
            contents[os.fsencode(path)] = pair
    outer = {
        path for path in contents if not any(path.startswith(other + b"/") for other in contents)
    }
    return nest(writer, {path: contents[path] for path in outer}) if outer else EMPTY


def _extra(told: Mapping[str, Any]) -> dict[str, Pair | Oid | str]:
    """Return what a record has beside the usual: the script that ran, and what sysroots were
    composed of.
    """
    extra: dict[str, Pair | Oid | str] = {}
    script = re.sub(r"/log\.([^/]*)$", r"/run.\1", told["log"])
    text = _text(script) if script != told["log"] else b""
    if text:
        extra["script"] = text.decode("utf-8", "surrogateescape")
    if told["sysroot"]:
        extra["sysroot-of"] = "".join(f"{line}\n" for line in told["sysroot"])
    return extra


def _outside(
    store: Store, writer: ObjectWriter, paths: Iterable[str]
) -> list[tuple[Snapshot, Path]]:
    """Capture sources that are outside WORKDIR, a kernel's or a developer's; return each with its
    memory.
    """
    exclude = Exclude(("/.git/",))
    found = []
    for path in map(Path, paths):
        memory = _memory(store, path)
        found.append(
            (capture(store, path, writer, memory=memory, exclude=exclude, live=True), memory)
        )
    return found


def _memory(store: Store, path: Path) -> Path:
    return store.cache / "workdirs" / f"bitbake-{_name(path)}"


def _name(path: Path) -> str:
    return hashlib.sha1(os.fsencode(path)).hexdigest()
