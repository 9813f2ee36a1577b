"""Rerun recorded tasks in a scratch directory, separate from builds and without new refs.

The inputs of a task come from its record, so its recipe may have changed or been deleted. With
bubblewrap, the WORKDIR is mounted at its recorded path. The scratch directory is in the store's
cache, so sysroots are hardlinked as usual. It is deleted at the end.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from prov.errors import FORGET_RUN, BuildError, StoreError
from prov.files import locked, remove_tree, try_locked
from prov.processes import decode_answer, start_child
from prov.recipes.graph import Node
from prov.recipes.recipe import SYSROOT, SYSROOT_NATIVE
from prov.records.ids import CommitId, OutputId, StaticKey
from prov.records.keys import TaskKey
from prov.records.lookup import Records
from prov.records.refs import SCRATCHES
from prov.store.objects import Oid
from prov.store.refs import RefUpdate
from prov.store.repository import Store
from prov.tasks.execution import run_task
from prov.tasks.job import Composer, Job, Result, Taken, Workspace
from prov.tasks.paths import make_paths
from prov.tasks.recorded import (
    RecordedInputs,
    RecordedTask,
    make_node,
    own_inputs,
    taken_output,
)
from prov.tasks.taskhash import HashOnly
from prov.tasks.toolchain import Toolchains

SCRATCH_FOLDER = "aside"
"""Folder of scratch directories in a store's cache."""
_PARTS = {SYSROOT: "sysroot/target", SYSROOT_NATIVE: "sysroot/native"}


@dataclass(slots=True)
class Scratch:
    """A scratch directory, and what tasks need to run in it."""

    store: Store
    sysroots: Callable[[bool], Composer]
    """Returns a composer of sysroots, given whether a sandbox write-protects them."""
    sandbox: str | None
    """Path of bubblewrap, or None."""
    folder: Path
    toolchains: Toolchains
    jobs: int = 1
    on_host: bool = False
    """Whether tasks recorded without a sandbox may run without one. No record may set this."""
    mounter: str | None = None
    """Path of bubblewrap, if it can mount such a task's WORKDIR at its recorded path."""
    notes: list[str] = field(default_factory=list)

    @property
    def alias(self) -> str:
        """Name of the directory in refs and caches."""
        return self.folder.name

    def close(self) -> None:
        """Unmount everything in the directory, and delete it with its refs and caches."""
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

    # reruns

    def run(
        self, task: RecordedTask, *, chain: str = "", start: Sequence[Oid] | None = None
    ) -> Result:
        """Rerun a task and return the result. Its output is written to the store without a ref.

        It starts from the recorded start, or from the WORKDIRs of the commits in `start`. `chain`
        names a WORKDIR other than the recorded one. Raises StoreError if an input is not in the
        store.
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
        workspace = self.workspace(task)
        own = own_inputs(self.store.objects, HashOnly(), task)
        if workspace.sandbox is None:
            self.toolchains.check_current(own.toolchain, task.key)
        needs = self._taken(task, "needs")
        task_paths = make_paths(workspace, self.toolchains, node, chain, own.toolchain, needs)
        seen = self.recorded_workdir(task)
        # a record must not grant access to folders of the host
        task_paths = replace(task_paths, readable=())
        if self.is_mounted(task) and chain == task.definition.chain and seen:
            task_paths = replace(task_paths, at=seen, mounter=self.mounter or "")
        job = Job(
            node=node,
            chain=chain,
            own=own,
            edges=task.edge_ids(),
            static_key=StaticKey(b""),
            task_paths=task_paths,
            after=tuple(CommitId(oid) for oid in after),
            from_=from_,
            needs=needs,
            jobs=self.jobs,
            makeflags=f"-j{self.jobs}",
            force=True,
            plain=False,
        )
        return run_task(workspace, job)

    def workspace(self, task: RecordedTask) -> Workspace:
        """Return a workspace for a recorded task, with a sandbox if the task had one."""
        sandbox = self.sandbox if self._was_sandboxed(task) else None
        if sandbox is None and self.mounter is not None and not self.on_host:
            raise BuildError(
                f"{task.key} was recorded without a sandbox",
                hint="pass `--sandbox none` to run its recorded commands on this host as your user",
            )
        return Workspace(
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

    def recorded_workdir(self, task: RecordedTask) -> str:
        """Return the path of its WORKDIR as a task saw it, an empty text if it is not recorded.

        Raises StoreError.
        """
        path = _facts(self.store, task).get("seen-workdir", "")
        is_below_root = path.startswith("/") and path.strip("/") and ".." not in path.split("/")
        if path and not is_below_root:
            raise StoreError(
                f"the record of {task.key} has an invalid WORKDIR path {path!r}",
                hint=FORGET_RUN,
            )
        return path

    def is_mounted(self, task: RecordedTask) -> bool:
        """Return whether to mount the WORKDIR of a task without a sandbox at its recorded path."""
        return self.mounter is not None and not self._was_sandboxed(task)

    def _start(self, task: RecordedTask) -> tuple[tuple[Oid, ...], tuple[Taken, ...]]:
        objects = self.store.objects
        assert task.commit is not None
        start = objects.commit(task.commit).parents[0]
        parents = objects.commit(start).parents
        if len(parents) == 2 and not objects.commit(start).message.startswith("start from "):
            return (start,), ()  # the predecessor's WORKDIR, or manual changes to it
        return parents, self._taken(task, "from")

    def _taken(self, task: RecordedTask, kind: str) -> tuple[Taken, ...]:
        outputs = []
        keys = task.definition.from_ if kind == "from" else task.definition.needs
        for key in keys:
            output = task.outputs.get((kind, key))
            if output is None or not self.store.objects.exists(output):
                raise StoreError(
                    f"the output of {key}, an input of {task.key}, is not in this store",
                    hint="run `prov build` to make it again, if the recipes are unchanged",
                )
            outputs.append(taken_output(task.definition, TaskKey(key), OutputId(output)))
        return tuple(outputs)


@contextlib.contextmanager
def open_scratch(
    store: Store,
    sysroots: Callable[[bool], Composer],
    sandbox: str | None,
    *,
    search_path: str,
    jobs: int = 1,
    on_host: bool = False,
    mounter: str | None = None,
) -> Iterator[Scratch]:
    """Yield a new scratch directory for recorded tasks, and delete it at the end.

    First deletes the scratch directories of killed processes. The kernel released their locks.
    """
    top, toolchains = store.cache / SCRATCH_FOLDER, Toolchains(store, search_path)
    for left in sorted(top.glob("*.lock")):
        with try_locked(left) as free:
            if free:
                with contextlib.suppress(OSError):  # such as EBUSY: the next process retries
                    Scratch(store, sysroots, sandbox, left.with_suffix(""), toolchains).close()
                    left.unlink(missing_ok=True)
    with scratch_folder(store) as folder:
        scratch = Scratch(store, sysroots, sandbox, folder, toolchains, jobs, on_host, mounter)
        try:
            yield scratch
        finally:
            scratch.close()


@contextlib.contextmanager
def scratch_folder(store: Store) -> Iterator[Path]:
    """Yield a new folder in the store's cache, and delete it at the end.

    `open_scratch` deletes the folders of killed processes.
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
    """Unmount file systems below a folder, left by a killed process.

    Raises OSError if one cannot be unmounted.
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
