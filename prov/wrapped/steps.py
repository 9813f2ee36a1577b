"""Repeat the recorded steps of a build in a copy of its directory, never twice on the same inputs.

A step with the inputs of a recorded run does not run: the directory gets the state after that run.
The commands come from records, and so run as `prov.replay.mounted` describes.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from prov.errors import ProvError
from prov.records.build_list import BuildList
from prov.records.ids import CommitId
from prov.records.keys import TaskKey
from prov.records.lookup import Records, last_number
from prov.records.refs import RunRef
from prov.store.refs import RefUpdate
from prov.store.repository import Store
from prov.worktree.attributes import Pair
from prov.worktree.checkout import checkout
from prov.wrapped.builds import PreviousStep
from prov.wrapped.directory import Directory, recording
from prov.wrapped.record import record_alone, write_inputs
from prov.wrapped.recorded import recorded_command, recorded_step
from prov.wrapped.run import run_command
from prov.wrapped.step import KEPT_ENVIRONMENT, CommandStep, Ran


@dataclass(frozen=True, slots=True)
class RecordedStep:
    """A step of a recorded build."""

    step: CommandStep
    command: tuple[str, ...]
    environment: Mapping[str, str]
    """The recorded part of the environment."""
    folder: Path
    """The directory of the step, relative to that of the build."""


def recorded_steps(build: BuildList, top: Path) -> list[RecordedStep]:
    """Return the successful steps of a build of commands, in the order in which they ran.

    Captures are not steps. Raises ProvError if a step ran outside `top`, and if there is none.
    """
    began = {span.key: span.began for span in build.timeline()}
    lines = {key: line for recipe in build.recipes() for key, line in build.lines(recipe).items()}
    steps = []
    for key in sorted(lines, key=lambda key: (began.get(key, 0.0), key)):
        commit = build.store.refs.get(str(RunRef(key, lines[key].task_hash, lines[key].run)))
        step = _read_step(build.store, key, CommitId(commit), top) if commit else None
        if step is not None:
            steps.append(step)
    if not steps:
        raise ProvError(
            f"build {build.commit.hex()[:12]} has no step to repeat",
            hint="run `prov run --build LABEL --as app:compile -- make` to record one",
        )
    return steps


def _read_step(store: Store, key: TaskKey, commit: CommitId, top: Path) -> RecordedStep | None:
    command = recorded_command(store, commit)
    record = Records(store).record(commit)
    facts = record.facts(store.objects)
    if not command:
        return None
    workdir = Path(facts.get("workdir", "/"))
    if not workdir.is_relative_to(top):
        raise ProvError(
            f"{key} ran in {workdir}, outside {top}",
            hint="name a build whose steps ran in this directory with --steps",
        )
    # A clone is recorded completely: a result without the excluded files could not be reused.
    step = replace(recorded_step(key, facts), exclude=(), gitignore=False)
    environment = record.environment(store.objects)
    return RecordedStep(step, tuple(command), environment, workdir.relative_to(top))


@dataclass(frozen=True, slots=True)
class Repeater:
    """Repeats steps in a copy of a directory."""

    store: Store
    folder: Path
    """The copy."""
    enter: Callable[[Sequence[str], Path], Sequence[str]]
    """Return the command line that runs a command in a folder relative to the directory."""
    environment: Mapping[str, str]
    """The user's variables for commands, besides the recorded ones."""
    facts: Mapping[str, str]
    """Facts for the records of new runs."""

    def repeat(self, steps: Sequence[RecordedStep], ran: Callable[[TaskKey, int], None]) -> bool:
        """Repeat steps until one fails; return whether all succeeded.

        Calls `ran` with the name and exit status of each step that really ran.
        """
        source: PreviousStep | None = None
        for step in steps:
            source = self._step(step, source, ran)
            if source is None:
                return False
        return True

    def _step(
        self, step: RecordedStep, source: PreviousStep | None, ran: Callable[[TaskKey, int], None]
    ) -> PreviousStep | None:
        """Repeat a step; return its result, None if it failed."""
        path, key = self.folder / step.folder, step.step.key
        if not path.is_dir():
            return None
        kept = {
            name: step.environment[name] for name in KEPT_ENVIRONMENT if name in step.environment
        }
        command = shlex.join(step.command)
        with recording(self.store, path, step.step.omissions) as directory:
            start = directory.settle()
            expected = Ran(command, environment=kept)
            task_hash = write_inputs(directory.writer, step.step, start, expected, source)
            directory.writer.finish()
            _, known = Records(self.store).last_run(key, task_hash)
            if known is not None:
                return self._take(directory, start.pair, key, known)
            if last_number(self.store, key, task_hash, failed=True):
                return None
        began, clock = time.time(), time.monotonic()
        environment = {**self.environment, **kept}
        words = self.enter(step.command, step.folder)
        code, log = run_command(words, path, environment, lambda _chunk: None)
        seconds = time.monotonic() - clock
        with recording(self.store, path, step.step.omissions) as directory:
            facts = {**self.facts, "aside": "bisect"}
            done = Ran(command, code, began, seconds, log, kept, facts)
            ended = record_alone(directory, step.step, start, done, source)
        ran(key, code)
        if code or ended.problem:
            return None
        return PreviousStep(key, ended.member.output)

    def _take(
        self, directory: Directory, now: Pair, key: TaskKey, commit: CommitId
    ) -> PreviousStep:
        """Give a directory the state after a recorded run."""
        records = Records(self.store)
        result = records.record(commit).result
        assert result is not None  # the run succeeded
        checkout(self.store.objects, directory.path, records.workdir(commit), now=now)
        self.store.refs.update(RefUpdate(directory.ref, commit))
        return PreviousStep(key, result)

    def forget(self, steps: Sequence[RecordedStep]) -> None:
        """Delete the refs of the copy's last states; the runs stay."""
        with self.store.objects.writer(memory=True) as writer:
            paths = {self.folder / step.folder for step in steps}
            refs = {Directory(self.store, path, writer).ref for path in paths}
        self.store.refs.update(*(RefUpdate(ref, None) for ref in sorted(refs)))
