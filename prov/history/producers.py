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
from prov.records.run import OUTPUT_MESSAGES
from prov.store.objects import CONSTANT_IDENTITY, Commit, Oid, object_id
from prov.store.refs import hash_in
from prov.store.repository import Store

UNIHASH = 32
"""Bytes of the hashes by which BitBake's tasks name their dependencies; an id has 20."""


def lines_with_failures(build: BuildList) -> dict[str, Line]:
    """Return every task of a build; of failed ones the output is None."""
    found = {key: line for recipe in build.recipes() for key, line in build.lines(recipe).items()}
    return found | failures(build)


def failures(build: BuildList) -> dict[str, Line]:
    """Return the failed tasks of a build."""
    found = {}
    for key, what in build.happened().items():
        word, _, oid = what.partition(" ")
        if word == "failed" and re.fullmatch("[0-9a-f]{40}", oid):
            found[key] = Line(key, bytes.fromhex(oid), None, 0)
    return found


@dataclass(slots=True)
class Producers:
    """Finds task hashes by output."""

    store: Store
    builds: tuple[BuildList, ...] = ()
    """Where to look first."""
    _known: dict[tuple[str, Oid], Oid | None] = field(default_factory=dict)

    def hash_of(self, key: str, output: Oid) -> Oid | None:
        """Return a task hash that led to an output, or has a unihash; None if it is not recorded
        here.
        """
        if (key, output) not in self._known:
            self._known[key, output] = self._find(key, output)
        return self._known[key, output]

    def _find(self, key: str, output: Oid) -> Oid | None:
        if len(output) == UNIHASH:  # a build's list has one line for a task: the one with that hash
            lines = (build.newest_line(key) for build in self.builds)
            return next((line.task_hash for line in lines if line is not None), None)
        for build in self.builds:
            line = build.line(key)
            if line is not None and line.output == output:
                return line.task_hash
        commits = set(output_commits(output))
        prefix = f"refs/prov/output/{key.replace(':', '/')}/"
        hashes = (
            hash_in(name.rpartition("/")[2])
            for name, oid in self.store.refs.list(prefix).items()
            if oid in commits
        )
        return next((oid for oid in hashes if oid is not None), None)


def output_commits(output: Oid) -> Iterable[Oid]:
    """Return the ids of the commits that hold an output: these are the same everywhere."""
    for message in OUTPUT_MESSAGES:
        yield object_id("commit", Commit(output, (), CONSTANT_IDENTITY, message).encode())
