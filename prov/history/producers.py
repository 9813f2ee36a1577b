"""Find the task hash that produced an output.

An inputs tree names a dependency by the id of its output. The task hash that produced it is in a
build's list, or else in the output refs: the commit of an output has the same id everywhere.
BitBake names dependencies by its own hashes (unihashes), which only a build's list has.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice

from prov.records.build_list import LOOK_BACK, BuildList, Line, walk_builds
from prov.records.ids import OutputId, TaskHash, Unihash
from prov.records.keys import TaskKey
from prov.records.outcomes import Outcome
from prov.records.output import OUTPUT_MESSAGES
from prov.records.refs import OutputRef, outputs_of, parse_ref
from prov.store.objects import CONSTANT_IDENTITY, Commit, Oid, object_id
from prov.store.refs import hash_in
from prov.store.repository import Store


def lines_with_failures(build: BuildList) -> dict[TaskKey, Line]:
    """Return every task of a build. The output of a failed task is None."""
    lines = {key: line for recipe in build.recipes() for key, line in build.lines(recipe).items()}
    return lines | failures(build)


def failures(build: BuildList) -> dict[TaskKey, Line]:
    """Return the failed tasks of a build."""
    lines = {}
    for key, text in build.happened().items():
        outcome, _, digits = text.partition(" ")
        task_hash = hash_in(digits)
        if outcome == Outcome.FAILED and task_hash is not None:
            lines[key] = Line(key, TaskHash(task_hash), None, 0)
    return lines


@dataclass(slots=True)
class Producers:
    """Finds task hashes by output."""

    store: Store
    builds: tuple[BuildList, ...] = ()
    """Builds to search first."""
    _hashes: dict[tuple[TaskKey, OutputId | Unihash], TaskHash | None] = field(default_factory=dict)

    def hash_of(self, key: TaskKey, output: OutputId | Unihash) -> TaskHash | None:
        """Return a task hash that produced an output or has a unihash, None if none is recorded."""
        if (key, output) not in self._hashes:
            self._hashes[key, output] = self._find(key, output)
        return self._hashes[key, output]

    def _find(self, key: TaskKey, output: OutputId | Unihash) -> TaskHash | None:
        if isinstance(output, Unihash):
            return self._listed(key)
        for build in self.builds:
            for searched in _searched(build):
                line = searched.line(key)
                if line is not None and line.output == output:
                    return line.task_hash
        return self._by_refs(key, output)

    def _listed(self, key: TaskKey) -> TaskHash | None:
        """Return the task's hash in the builds' lists; its only line is that with the unihash."""
        lines = (build.newest_line(key) for build in self.builds)
        return next((line.task_hash for line in lines if line is not None), None)

    def _by_refs(self, key: TaskKey, output: OutputId) -> TaskHash | None:
        commits = set(output_commits(output))
        refs = self.store.refs.list(outputs_of(key))
        for name, commit in refs.items():
            ref = parse_ref(name) if commit in commits else None
            if isinstance(ref, OutputRef):
                return ref.task_hash
        return None


def _searched(build: BuildList) -> Iterable[BuildList]:
    """Return a build; if it lists only the commands that ran, also those before it."""
    if not build.is_of_commands:
        return [build]
    return islice(walk_builds(build), LOOK_BACK)


def output_commits(output: OutputId) -> Iterable[Oid]:
    """Return the ids of the commits that hold an output. They are the same in every store."""
    for message in OUTPUT_MESSAGES:
        yield object_id("commit", Commit(output, (), CONSTANT_IDENTITY, message).encode())
