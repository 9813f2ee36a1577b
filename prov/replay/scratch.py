"""Recorded tasks put back, or run again, aside from the builds: in a scratch directory, and without
a trace in refs.

What a task is run with comes from its record, so that the recipes may have changed since, or be
gone. Where bubblewrap can be used the WORKDIR is mounted at the path that it had. The scratch
directory is in the store's cache, so that sysroots are hardlinks as usual, and goes when it is no
longer needed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shlex
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from prov.errors import BuildError, StoreError
from prov.files import locked, remove_tree, try_locked
from prov.processes import decode_answer, start_child
from prov.recipes.graph import Node
from prov.recipes.recipe import SYSROOT, SYSROOT_NATIVE, TEMP
from prov.records.entries import LOG
from prov.records.ids import CommitId, OutputId, StaticKey
from prov.records.keys import TaskKey
from prov.records.lookup import Records
from prov.records.output import read_pair
from prov.records.record import read_run_record
from prov.records.refs import SCRATCHES
from prov.replay.scene import Scene
from prov.store.objects import Oid
from prov.store.refs import RefUpdate
from prov.store.repository import Store
from prov.tasks.execution import run_task
from prov.tasks.job import Composer, Job, Result, Site, Taken
from prov.tasks.paths import make_room
from prov.tasks.recorded import RecordedInputs, RecordedTask, make_node, own_inputs
from prov.tasks.sandbox import HOSTTOOLS, SYSROOTS, Room, mounted_command, sandbox_command
from prov.tasks.script import log_path, shell_script, task_values
from prov.tasks.taskhash import HashOnly
from prov.tasks.toolchain import Toolchains
from prov.worktree.checkout import checkout
from prov.worktree.placer import Placer, PrivatePlacer
from prov.worktree.pool import GUARDED, Pool

SCRATCH_FOLDER = "aside"
"""Name of the folder of scratch directories in a store's cache."""
_PARTS = {SYSROOT: "sysroot/target", SYSROOT_NATIVE: "sysroot/native"}


@dataclass(slots=True)
class Aside:
    """A scratch directory, and what tasks need there."""

    store: Store
    sysroots: Callable[[bool], Composer]
    """Makes what composes sysroots; told whether a sandbox keeps tasks from writing to them."""
    sandbox: str | None
    """Bubblewrap's program, or None."""
    folder: Path
    toolchains: Toolchains
    jobs: int = 1
    on_host: bool = False
    """The caller says that a task which had no sandbox may run without one: a record does not
    decide that.
    """
    mounter: str | None = None
    """Bubblewrap's program, if it can mount such a task's WORKDIR at the path that it had."""
    notes: list[str] = field(default_factory=list)

    @property
    def alias(self) -> str:
        return self.folder.name

    def close(self) -> None:
        """Remove the directory, and all that is known of it; what is mounted in it is unmounted
        first.
        """
        unmount_below(self.folder)
        for workdir in self.folder.glob("work/*/*/*"):
            for name in (SYSROOT, SYSROOT_NATIVE):
                self.sysroots(False).forget(workdir / name)
        refs = self.store.refs.list(f"{SCRATCHES}{self.alias}/")
        if refs:
            self.store.refs.update(*(RefUpdate(name, None) for name in refs))
        for memory in (self.store.cache / "workdirs").glob(f"{self.alias}%*"):
            memory.unlink(missing_ok=True)
        if self.folder.exists():
            remove_tree(self.folder)

    # running again

    def run(
        self, task: RecordedTask, *, chain: str = "", start: Sequence[Oid] | None = None
    ) -> Result:
        """Run a task again and return how it went; its output is in the store, and no ref names it.

        It starts from what it started from when it was recorded, or from the WORKDIRs of the
        commits in `start`. `chain` names its WORKDIR, where that is not to be at its old path.
        Raises StoreError where something that it takes is not recorded here.
        """
        node = make_node(self.store.objects, task)
        after, from_ = (
            self._start(task) if start is None else (tuple(start), self._taken(task, "from"))
        )
        child = start_child(
            lambda: self._run(task, node, chain or task.definition.chain, after, from_), leads=True
        )
        try:
            with os.fdopen(child.answer, "rb") as answer:
                data = answer.read()
        except BaseException:
            child.kill(15)
            raise
        finally:
            status = os.waitpid(child.pid, 0)[1]
            child.kill(9)
            self.store.objects.refresh()
        result = decode_answer(data, status, task.key)
        assert isinstance(result, Result)
        return result

    def _run(
        self,
        task: RecordedTask,
        node: Node,
        chain: str,
        after: tuple[Oid, ...],
        from_: tuple[Taken, ...],
    ) -> Result:
        site = self._site(task)
        own = own_inputs(self.store.objects, HashOnly(), task)
        if site.sandbox is None:
            self.toolchains.check_current(own.toolchain, task.key)
        needs = self._taken(task, "needs")
        edges: dict[str, Mapping[str, str]] = {
            "after": {key.task: task.hashes[key].hex() for key in task.hashes},
            "from": {taken.key: taken.output.hex() for taken in self._taken(task, "from")},
            "needs": {taken.key: taken.output.hex() for taken in needs},
        }
        room = make_room(site, self.toolchains, node, chain, own.toolchain, needs)
        seen = self._seen(task)
        room = replace(
            room, readable=()
        )  # a record says of no folder of the host that it may be read
        if self._is_mounted(task) and chain == task.definition.chain and seen:
            room = replace(room, at=seen, mounter=self.mounter or "")
        job = Job(
            node=node,
            chain=chain,
            own=own,
            edges=edges,
            static_key=StaticKey(b""),
            room=room,
            after=tuple(CommitId(oid) for oid in after),
            from_=from_,
            needs=needs,
            jobs=self.jobs,
            makeflags=f"-j{self.jobs}",
            force=True,
            plain=False,
        )
        return run_task(site, job)

    def _site(self, task: RecordedTask) -> Site:
        """Return a site like the one that a task was recorded in: sandboxed if that was."""
        sandbox = self.sandbox if self._was_sandboxed(task) else None
        if sandbox is None and self.mounter is not None and not self.on_host:
            raise BuildError(
                f"{task.key} was recorded without a sandbox",
                hint="`--sandbox none` runs what was recorded on this host, with your rights",
            )
        return Site(
            store=self.store,
            inputs=RecordedInputs(self.store.objects, {task.key: task}),
            sysroots=self.sysroots(sandbox is not None),
            work=self.folder / "work",
            sandbox=sandbox,
            alias=self.alias,
            keeps=False,
        )

    def _was_sandboxed(self, task: RecordedTask) -> bool:
        return _facts(self.store, task).get("sandbox", "bwrap") == "bwrap"

    def _seen(self, task: RecordedTask) -> str:
        """Return the path of its WORKDIR that a task saw, empty if that is not recorded.

        Raises StoreError.
        """
        seen = _facts(self.store, task).get("seen-workdir", "")
        if seen and (not seen.startswith("/") or ".." in seen.split("/") or seen.strip("/") == ""):
            raise StoreError(
                f"{task.key} can't have run in {seen!r}",
                hint="don't trust the origin of that record",
            )
        return seen

    def _is_mounted(self, task: RecordedTask) -> bool:
        return self.mounter is not None and not self._was_sandboxed(task)

    def _start(self, task: RecordedTask) -> tuple[tuple[Oid, ...], tuple[Taken, ...]]:
        objects = self.store.objects
        assert task.commit is not None
        start = objects.commit(task.commit).parents[0]
        parents = objects.commit(start).parents
        if len(parents) == 2 and not objects.commit(start).message.startswith("start from "):
            return (start,), ()  # another task's, or what somebody had changed
        return parents, self._taken(task, "from")

    def _taken(self, task: RecordedTask, kind: str) -> tuple[Taken, ...]:
        found = []
        keys = task.definition.from_ if kind == "from" else task.definition.needs
        for key in keys:
            output = task.outputs.get((kind, key))
            if output is None or not self.store.objects.exists(output):
                raise StoreError(
                    f"{task.key} takes an output of {key} that is not here",
                    hint="`prov build` makes it again, if the recipes are still the same",
                )
            found.append(self._taken_one(task, TaskKey(key), OutputId(output)))
        return tuple(found)

    def _taken_one(self, task: RecordedTask, key: TaskKey, output: OutputId) -> Taken:
        texts = {text.split(" ")[0]: text.split(" ")[1:] for text in task.definition.staging}
        where, *folders = texts.get(key, ["target"])
        paths = [os.fsencode(path.removeprefix("${WORKDIR}/").rstrip("/")) for path in folders]
        return Taken(
            key, output, tuple(paths), where == "native", direct=key in task.definition.direct
        )

    # putting back

    def put_back(self, task: RecordedTask, *, before: bool, terminal: str = "") -> Scene:
        """Put a task's WORKDIR, as it was after or before it, and its sysroots in place; return all
        of it.
        """
        assert task.commit is not None
        site, objects = self._site(task), self.store.objects
        node, own = make_node(objects, task), own_inputs(objects, HashOnly(), task)
        chain = task.definition.chain
        needs = tuple(taken for taken in self._taken_if_there(task) if taken.direct)
        room = make_room(site, self.toolchains, node, chain, own.toolchain, needs)
        seen = self._seen(task) or str(room.workdir)
        room = replace(room, readable=())
        if self._is_mounted(task):
            room = replace(room, at=seen, mounter=self.mounter or "")
        held = objects.commit(task.commit)
        records = Records(self.store)
        room.workdir.mkdir(parents=True, exist_ok=True)
        checkout(objects, room.workdir, records.workdir(held.parents[0] if before else task.commit))
        self._put_sysroots(task.commit, room)
        environment = records.record(task.commit).environment(objects)
        if room.root is None and not room.at:
            environment = {name: _moved(value, seen, room) for name, value in environment.items()}
            self.notes.append(
                f"without bubblewrap the WORKDIR is {room.workdir}: tools may still hold {seen},"
                " its path then"
            )
        environment.pop("MAKEFLAGS", None)  # the jobserver's pipes are gone
        self._put_script(task, node, room, before=before)
        environment |= {"TERM": terminal or "dumb", "PS1": f"{node.key}$ "}
        sandbox = self.sandbox if room.root is not None else None
        return Scene(
            folder=room.workdir,
            environment=environment,
            enter=partial(_enter, room, sandbox),
            shell=partial(_shell, room, sandbox, node.key),
            notes=self.notes,
        )

    def _taken_if_there(self, task: RecordedTask) -> Iterator[Taken]:
        for key in task.definition.direct:
            output = task.outputs.get(("needs", key))
            if output is not None and self.store.objects.exists(output):
                yield self._taken_one(task, TaskKey(key), OutputId(output))

    def _put_sysroots(self, commit: Oid, room: Room) -> None:
        objects = self.store.objects
        record = read_run_record(objects, commit)
        for folder, part in _PARTS.items():
            entry = objects.entry(record.tree, part)
            _make_own(room.workdir / folder)
            if entry is not None:
                places = room.sysroot_places()
                placer: Placer = PrivatePlacer(objects, places)
                if room.root is not None:  # mounted read-only: links do no harm
                    placer = Pool(self.store.cache / GUARDED, objects, places)
                checkout(
                    objects, room.workdir / folder, read_pair(objects, entry.oid), placer=placer
                )

    def _put_script(self, task: RecordedTask, node: Node, room: Room, *, before: bool) -> None:
        """Put the run script and the log where they were, so that the task can be run by hand."""
        assert task.commit is not None
        temp = room.workdir / TEMP
        _make_own(temp)
        (temp / "home").mkdir()
        own = own_inputs(self.store.objects, HashOnly(), task)
        if node.task.interpreter == "python3":
            (temp / f"run.{node.task.name}.py").write_text(
                node.task.script, "utf-8", "surrogateescape"
            )
        else:
            job = Job(node, task.definition.chain, own, {}, StaticKey(b""), room, jobs=self.jobs)
            values, directory = task_values(job)
            text = f"cd {shlex.quote(directory)}\n{shell_script(node, own, values)}"
            (temp / f"run.{node.task.name}").write_text(text, "utf-8", "surrogateescape")
        if not before:
            log_path(room.workdir, node.task.name).write_bytes(
                Records(self.store).text(task.commit, LOG)
            )


def _make_own(folder: Path) -> None:
    """Make a folder that no recorded WORKDIR has; what a record has there, such as a link, is a
    stranger's work.
    """
    if os.path.lexists(folder):
        remove_tree(folder)
    folder.mkdir()


def _enter(room: Room, sandbox: str | None, command: Sequence[str]) -> Sequence[str]:
    """Return the command that runs another one in a WORKDIR that was put back."""
    seen = room.seen_workdir
    if sandbox is not None:
        return sandbox_command(sandbox, room, command, directory=seen, terminal=True)
    if room.at:
        return mounted_command(room, command, directory=seen)
    return command


def _shell(room: Room, sandbox: str | None, key: TaskKey) -> list[str]:
    """Return the command of an interactive shell among a task's own tools."""
    for name, options in (("bash", ["--norc", "--noprofile", "-i"]), ("sh", ["-i"])):
        if (room.links / name).is_symlink():
            program = name if sandbox else os.path.realpath(room.links / name)
            return [program, *options]
    raise StoreError(f"{key} has no shell among its tools", hint="name a command: `-- COMMAND`")


@contextlib.contextmanager
def aside(
    store: Store,
    sysroots: Callable[[bool], Composer],
    sandbox: str | None,
    *,
    search_path: str,
    jobs: int = 1,
    on_host: bool = False,
    mounter: str | None = None,
) -> Iterator[Aside]:
    """Yield a scratch directory of its own for recorded tasks; it is removed at the end.

    Those of processes that were killed are removed first: a lock that the kernel drops tells which.
    """
    top, toolchains = store.cache / SCRATCH_FOLDER, Toolchains(store, search_path)
    for left in sorted(top.glob("*.lock")):
        with try_locked(left) as free:
            if free:
                with contextlib.suppress(OSError):  # busy still, say: the next one tries again
                    Aside(store, sysroots, sandbox, left.with_suffix(""), toolchains).close()
                    left.unlink(missing_ok=True)
    with scratch_folder(store) as folder:
        made = Aside(store, sysroots, sandbox, folder, toolchains, jobs, on_host, mounter)
        try:
            yield made
        finally:
            made.close()


@contextlib.contextmanager
def scratch_folder(store: Store) -> Iterator[Path]:
    """Yield a folder in the store's cache, which goes at the end; that of a killed process when
    somebody looks.
    """
    folder = store.cache / SCRATCH_FOLDER / uuid.uuid4().hex[:12]
    lock = folder.with_suffix(".lock")
    with locked(lock):
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            if folder.exists():
                remove_tree(folder)
            lock.unlink(missing_ok=True)


def unmount_below(folder: Path) -> None:
    """Unmount what a killed process left mounted below a folder.

    Raises OSError for what can't be.
    """
    for line in Path("/proc/self/mounts").read_text(errors="surrogateescape").splitlines():
        place = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), line.split(" ")[1])
        if Path(place).is_relative_to(folder):
            fuse = shutil.which("fusermount") or shutil.which("fusermount3")
            command = [fuse, "-u", "-z", place] if fuse else ["umount", "-l", place]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise OSError(errno.EBUSY, done.stderr.strip(), place)


def _facts(store: Store, task: RecordedTask) -> dict[str, str]:
    return Records(store).facts(task.commit) if task.commit is not None else {}


def _moved(value: str, seen: str, room: Room) -> str:
    """Return a variable's value with the paths that a sandbox had replaced by those that are
    there.
    """
    for old, new in (
        *(
            (place, str(room.workdir / folder))
            for folder, place in sorted(SYSROOTS.items(), reverse=True)
        ),
        (seen, str(room.workdir)),
        (HOSTTOOLS, str(room.links)),
    ):
        value = value.replace(old, new)
    return value
