"""Run and record one task, in a worker process.

The order makes a kill harmless: the contents of the WORKDIR are stored before they are overwritten;
objects are durable before refs; all refs of a run change together; and only then is the task
reported as done.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import socket
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from prov.files import locked, set_mode
from prov.recipes.recipe import SYSROOT, SYSROOT_NATIVE
from prov.records.entries import READS
from prov.records.ids import TaskHash
from prov.records.keys import TaskKey
from prov.records.lookup import Records
from prov.records.output import Output, read_pair, read_postprocess
from prov.records.refs import OutputRef
from prov.records.run import Run, RunIds, Start, author, write_run
from prov.records.run_refs import result_refs, run_tag
from prov.store.joining import consolidate
from prov.store.objects import MODE_FILE, Entry, Oid
from prov.store.odb import ObjectWriter
from prov.store.refs import RefUpdate
from prov.tasks.advice import advice
from prov.tasks.definition import define
from prov.tasks.job import ComposedSysroot, Job, Result, Taken, Workspace
from prov.tasks.reading import Reading, Tracing, Unread, watch_of
from prov.tasks.relocate import Tokeniser, held_blobs
from prov.tasks.script import (
    ScriptResult,
    log_path,
    postprocess_text,
    run_in_sysroot,
    run_postprocess,
    run_script,
)
from prov.tasks.taskhash import OwnInputs, output_paths, task_hash
from prov.tasks.workdir import Workdir, capture_rules
from prov.worktree.attributes import EMPTY, Pair, TreeReader, at_path, nest
from prov.worktree.merge import Owned
from prov.worktree.snapshot import Snapshot

LOG_TAIL = 20


def run_task(workspace: Workspace, job: Job) -> Result:
    """Run and record a task. Raises ProvError if it cannot be run or recorded."""
    begun = time.monotonic()
    with locked(workspace.store.cache / "locks" / f"{job.node.arch}-{job.node.recipe.name}"):
        with workspace.store.objects.writer() as writer:
            result = _Execution(
                workspace,
                job,
                writer,
                Workdir(workspace, job.node, job.chain, writer, job.own.capture),
            ).run()
        # the task is recorded; a failure here, such as a full disk, only delays the cleanup
        with contextlib.suppress(OSError):
            consolidate(workspace.store.objects)
    result.seconds = time.monotonic() - begun
    return result


@dataclass(slots=True)
class _Execution:
    workspace: Workspace
    job: Job
    writer: ObjectWriter
    workdir: Workdir

    def run(self) -> Result:
        job = self.job
        own = self.workspace.inputs.own(job.node, self.writer)
        oid = task_hash(self.writer, own, job.edges)
        if not job.force and not job.incremental:
            done = self.done_by_another(oid)
            if done is not None:
                return done
        here = self.workdir.settle()
        if job.incremental:
            start, oid = here, self.incremental_hash(own, here)
            self.workdir.put_over(job, here.pair)
        else:
            start = self.workdir.start(job)
            self.workdir.put_in_place(start.pair, now=here.pair)
        outcome, sysroots = self.attempt(traced=job.strace is not None)
        if job.strace is not None and outcome.problem:
            self.workdir.notes.append(
                f"{job.node.key}: {outcome.problem} while traced; it ran again without strace"
            )
            self.workdir.put_in_place(start.pair, now=self.workdir.capture().pair)
            outcome, sysroots = self.attempt(traced=False)
        return self.record(oid, start, outcome, sysroots, own)

    def attempt(self, *, traced: bool) -> tuple[ScriptResult, dict[str, ComposedSysroot]]:
        """Run the script from the start in the WORKDIR; return the result and the sysroots."""
        self.postprocess_taken()
        began = time.time()
        sysroots = self.compose()
        self.workdir.place_inputs(self.job)
        reading = self.reading(sysroots, traced=traced)
        outcome = run_script(self.workspace, self.job, self.workdir.path, reading)
        # the task may have removed permissions of the WORKDIR itself
        with contextlib.suppress(PermissionError):
            set_mode(self.workdir.path, stat.S_IRWXU, add=True)
        stray_write = self.guard(began)
        if stray_write:
            outcome = replace(outcome, stray_write=stray_write)
        return outcome, sysroots

    def reading(self, sysroots: Mapping[str, ComposedSysroot], *, traced: bool) -> Reading:
        """Return how the task's reads are recorded."""
        job, workdir = self.job, self.workdir
        if self.workspace.sandbox is None:
            return Unread()
        if job.strace is None or not traced:
            return watch_of(self.workspace.store.objects, job.task_paths, sysroots)
        return Tracing(
            strace=job.strace,
            output=workdir.trace,
            objects=self.writer,
            capture=lambda: workdir.capture().pair,
            rules=capture_rules(workdir.rules)[0],
            seen_workdir=job.task_paths.seen_workdir,
        )

    def done_by_another(self, oid: TaskHash) -> Result | None:
        """Return the task's result if a different process ran it before this one got the lock."""
        records = Records(self.workspace.store, lambda _key: self.job.task_paths.place())
        output = records.output(self.job.node.key, oid)
        number, commit = records.last_run(self.job.node.key, oid)
        if output is None or commit is None:
            return None
        return Result(self.job.node.key, "done by another", oid, output, commit, number)

    def incremental_hash(self, own: OwnInputs, start: Start) -> TaskHash:
        """Return the hash of a run that starts from leftovers, with the leftovers as an input."""
        mark = Entry(
            b"incremental", MODE_FILE, self.writer.add("blob", f"{start.commit.hex()}\n".encode())
        )
        return task_hash(self.writer, replace(own, entries=(*own.entries, mark)), self.job.edges)

    def postprocess_taken(self) -> None:
        for taken in self.job.from_:
            text = read_postprocess(self.writer, taken.output)
            if text:
                workdir = self.workdir.path
                sandbox = self.workspace.sandbox
                run_postprocess(
                    self.job.task_paths.links, text, workdir, taken.key, sandbox=sandbox, at=workdir
                )

    def compose(self) -> dict[str, ComposedSysroot]:
        """Compose the task's two sysroots and return them by their folders in the WORKDIR.

        The native one comes first, because scripts in the other may use its tools.
        """
        workspace, job = self.workspace, self.job
        sysroots: dict[str, ComposedSysroot] = {}
        environment: dict[str, str] = {
            taken.key: taken.output.hex() for taken in job.needs if taken.native
        }
        root = job.task_paths.root.name if job.task_paths.root else ""
        environment["host tools"] = f"{job.task_paths.links.name} {root}"
        places = job.task_paths.sysroot_places()
        for folder, native in ((SYSROOT_NATIVE, True), (SYSROOT, False)):
            needs = [taken for taken in job.needs if taken.native == native and not taken.direct]
            composed = workspace.sysroots.compose(
                self.writer,
                self.workdir.path / folder,
                [part for taken in needs for part in self.packages(taken)],
                wins=job.node.recipe.sysroot_owner,
                places=places,
                run=lambda script, _directory, folder=folder: run_in_sysroot(
                    workspace, job, folder, script
                ),
                environment=environment,
            )
            self.workdir.notes += composed.notes
            sysroots[folder] = composed
        return sysroots

    def guard(self, began: float) -> str:
        """Return a text that lists changes in the task's sysroots during its run, or "".

        Only tasks without a sandbox can make such changes. Files added by the task itself are
        harmless: the next composition removes them and no other task sees them.
        """
        changes: list[str] = []
        if self.workspace.sandbox is not None:
            return ""
        places = self.job.task_paths.sysroot_places()
        for folder in (SYSROOT, SYSROOT_NATIVE):
            mismatches = self.workspace.sysroots.check(
                self.writer, self.workdir.path / folder, places=places
            )
            changes += [
                f"{folder}/{mismatch}"
                for mismatch in mismatches
                if mismatch.what != "added" or mismatch.changed_at < began
            ]
        if not changes:
            return ""
        more = f" and {len(changes) - 3} more" if len(changes) > 3 else ""
        return f"the sysroot changed while the task ran: {', '.join(changes[:3])}{more}"

    def packages(self, taken: Taken) -> list[Owned]:
        """Return the directories of an output, each to be merged into a sysroot."""
        whole = read_pair(self.writer, taken.output)
        nodes = [at_path(self.writer, whole, path) for path in taken.paths]
        return [Owned(taken.key, node.pair) for node in nodes if node is not None]

    def record(
        self,
        oid: TaskHash,
        start: Start,
        outcome: ScriptResult,
        sysroots: Mapping[str, ComposedSysroot],
        own: OwnInputs,
    ) -> Result:
        """Write the task's objects, then the refs; return the result."""
        job, ended = self.job, time.time()
        snapshot = self.workdir.capture()
        output, problem = self.output(snapshot, outcome)
        if output is not None and job.staged:
            self.adopt(snapshot)
        run = Run(
            job.node.key,
            oid,
            start,
            snapshot.pair,
            output,
            outcome.log,
            outcome.environment,
            self.facts(outcome, problem, ended),
            _pairs(sysroots),
            define(job.node, job.chain, own),
            {READS.decode(): outcome.reads.encode().decode("ascii")},
        )
        recorded = write_run(self.writer, run, author(ended))
        self.writer.finish()
        number = self.name(run, recorded)
        self.workdir.done(snapshot)
        result = Result(
            key=job.node.key,
            status="ran" if output is not None else "failed",
            task_hash=oid,
            output=recorded.output if output is not None else None,
            commit=recorded.commit,
            number=number,
            script_seconds=outcome.seconds,
            added=self.writer.total,
            problem=problem,
            stray_write=bool(outcome.stray_write),
            log=str(log_path(self.workdir.path, job.node.task.name)),
            notes=self.workdir.notes,
        )
        if problem:
            text = outcome.log.decode("utf-8", "replace")
            result.log_tail = text.splitlines()[-LOG_TAIL:]
            result.advice = advice(self.workspace.store, job.node, text)
        return result

    def facts(self, outcome: ScriptResult, problem: str, ended: float) -> dict[str, str]:
        """Return the facts of the record. `ended` is in seconds since the epoch."""
        job = self.job
        facts = {
            "result": f"failed: {problem}" if problem else "ok",
            "began": f"{ended - outcome.seconds:.3f}",
            "seconds": f"{outcome.seconds:.3f}",
            "sandbox": "bwrap" if self.workspace.sandbox else "none",
            "host": socket.gethostname(),
            "workdir": str(self.workdir.path),
            "seen-workdir": job.task_paths.seen_workdir,
            "outputdir": shlex.join(map(os.fsdecode, output_paths(job.node.recipe, job.node))),
        }
        if job.plain and not job.incremental:
            facts["static-key"] = job.static_key.hex()
        if self.workspace.alias:
            facts["aside"] = self.workspace.alias
        if job.incremental:
            facts["incremental"] = "started from leftovers; never reused, never shared"
        return facts

    def name(self, run: Run, recorded: RunIds) -> int:
        """Update the refs of a run in one transaction; return the run's number."""
        job = self.job
        tag = run_tag(self.workspace.store, run, recorded)
        updates = [RefUpdate(self.workdir.ref, recorded.commit)]
        if self.workspace.keeps:
            updates.append(tag)
        if run.output is not None and self.is_kept(run.key, run.task_hash, run.output):
            updates += result_refs(run, recorded, job.static_key if job.plain else None)
        self.workspace.store.refs.update(*updates)
        return int(tag.name.rpartition("/")[2])

    def is_kept(self, key: TaskKey, task_hash: TaskHash, output: Output) -> bool:
        """Return whether an output becomes the result of its task hash.

        The output of a scratch workspace never replaces an existing result, and is not kept if it
        is not relocatable.
        """
        if not self.workspace.keeps or self.job.incremental:
            return False
        if not self.workspace.alias:
            return True
        return (
            not output.fixed
            and self.workspace.store.refs.get(str(OutputRef(key, task_hash))) is None
        )

    def output(self, snapshot: Snapshot, outcome: ScriptResult) -> tuple[Output | None, str]:
        """Return the task's output and "", or None and the problem."""
        node = self.job.node
        if outcome.problem:
            return None, outcome.problem
        pairs, places = {}, self.job.task_paths.places()
        taken = held_inputs(self.writer, self.job)
        held: list[str] = []
        for path in output_paths(node.recipe, node):
            pair = snapshot.output(path, self.writer)
            if pair is None:
                return None, f"outputdir {os.fsdecode(path)} is missing"
            tokeniser = Tokeniser(self.writer, places, taken)
            pairs[path] = tokeniser.output(self.workdir.path / os.fsdecode(path), pair)
            held += [f"{os.fsdecode(path)}/{os.fsdecode(file)}" for file in tokeniser.held]
        if held:
            more = f" and {len(held) - 3} more" if len(held) > 3 else ""
            self.workdir.notes.append(
                f"{node.key}: the output is not relocatable: cannot replace the build paths in"
                f" {', '.join(held[:3])}{more}"
            )
        where = f"{node.recipe.path}: tasks.{node.task.name}.postprocess"
        text = postprocess_text(node.recipe, node.task.postprocess, where)
        whole = nest(self.writer, pairs) if pairs else EMPTY
        return Output(whole, text, self.job.task_paths.place() if held else b""), ""

    def adopt(self, snapshot: Snapshot) -> None:
        """Add the output's files to the pool, from which sysroots are linked."""
        for top in output_paths(self.job.node.recipe, self.job.node):
            for path, folder in snapshot.folders.items():
                if path == top or path.startswith(top + b"/"):
                    where = self.workdir.path / os.fsdecode(path)
                    self.workspace.sysroots.adopt(
                        (where / os.fsdecode(file.name), oid, file)
                        for file, oid in folder.files()
                        if stat.S_ISREG(file.mode)
                    )


def held_inputs(reader: TreeReader, job: Job) -> frozenset[Oid]:
    """Return the blobs of a task's inputs that contain irreplaceable build paths."""
    if job.held is not None:
        return job.held
    return held_blobs(reader, [read_pair(reader, output) for output in job.sources])


def _pairs(sysroots: Mapping[str, ComposedSysroot]) -> dict[str, Pair]:
    """Return the trees of the sysroots that are not empty, by their names in a record."""
    names = {SYSROOT_NATIVE: "native", SYSROOT: "target"}
    return {
        names[folder]: composed.pair
        for folder, composed in sysroots.items()
        if composed.pair != EMPTY
    }
