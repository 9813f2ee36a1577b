"""Which task hash an output came from: what is behind an edge of the graph, as recorded.

An inputs tree names a dependency by the id of its output. The task that gave that output is found
in a build's list, or, where no build at hand has it, by the refs of outputs: an output's commit has
the same id everywhere. BitBake names dependencies by hashes of its own: these are found in a
build's list alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from prov.records.build_list import BuildList, Line
from prov.records.ids import OutputId, TaskHash, Unihash
from prov.records.keys import TaskKey
from prov.records.output import OUTPUT_MESSAGES
from prov.records.refs import OutputRef, outputs_of, parse_ref
from prov.store.objects import CONSTANT_IDENTITY, Commit, Oid, object_id
from prov.store.repository import Store


def lines_with_failures(build: BuildList) -> dict[TaskKey, Line]:
    """Return every task of a build; of failed ones the output is None."""
    found = {key: line for recipe in build.recipes() for key, line in build.lines(recipe).items()}
    return found | failures(build)


def failures(build: BuildList) -> dict[TaskKey, Line]:
    """Return the failed tasks of a build."""
    found = {}
    for key, what in build.happened().items():
        word, _, oid = what.partition(" ")
        if word == "failed" and re.fullmatch("[0-9a-f]{40}", oid):
            found[key] = Line(key, TaskHash(bytes.fromhex(oid)), None, 0)
    return found


@dataclass(slots=True)
class Producers:
    """Finds task hashes by output."""

    store: Store
    builds: tuple[BuildList, ...] = ()
    """Where to look first."""
    _known: dict[tuple[TaskKey, OutputId | Unihash], TaskHash | None] = field(default_factory=dict)

    def hash_of(self, key: TaskKey, output: OutputId | Unihash) -> TaskHash | None:
        """Return a task hash that led to an output, or has a unihash; None if it is not recorded
        here.
        """
        if (key, output) not in self._known:
            self._known[key, output] = self._find(key, output)
        return self._known[key, output]

    def _find(self, key: TaskKey, output: OutputId | Unihash) -> TaskHash | None:
        if isinstance(
            output, Unihash
        ):  # a build's list has one line for a task: the one with that hash
            lines = (build.newest_line(key) for build in self.builds)
            return next((line.task_hash for line in lines if line is not None), None)
        for build in self.builds:
            line = build.line(key)
            if line is not None and line.output == output:
                return line.task_hash
        commits = set(output_commits(output))
        names = self.store.refs.list(outputs_of(key)).items()
        refs = (parse_ref(name) for name, oid in names if oid in commits)
        return next((ref.task_hash for ref in refs if isinstance(ref, OutputRef)), None)


def output_commits(output: OutputId) -> Iterable[Oid]:
    """Return the ids of the commits that hold an output: these are the same everywhere."""
    for message in OUTPUT_MESSAGES:
        yield object_id("commit", Commit(output, (), CONSTANT_IDENTITY, message).encode())
