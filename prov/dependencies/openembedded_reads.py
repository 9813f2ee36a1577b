"""Read what the recorded tasks of BitBake's recipes read, and the packages in their sysroots.

A record lists the recipes in the sysroots with BitBake's task hashes, and the content of each is
in the WORKDIR of the task that staged it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from prov.dependencies.findings import RecordedReads
from prov.dependencies.recorded import NEWEST, ReadsReader
from prov.dependencies.usage import NOWHERE, NeededPackage, Places
from prov.history.names import RunName, runs
from prov.reads.reads import decode_reads
from prov.recipes.recipe import NATIVE, SYSROOT, SYSROOT_NATIVE
from prov.records.entries import READS, SYSROOT_OF
from prov.records.keys import TaskKey
from prov.records.record import Record, read_run_record, read_workdir
from prov.records.refs import runs_of
from prov.store.objects import Oid
from prov.store.repository import Store
from prov.worktree.attributes import Pair, at_path

STAGING = "do_populate_sysroot"
BITBAKE_HASH = "bitbake-taskhash"
"""The fact that only BitBake's tasks have."""
_RECIPE = re.compile(r"[\w.+-]+")
_NATIVE_MARKS = (NATIVE, "-cross", "-crosssdk")
"""Parts of the names of recipes in the native sysroot."""


@dataclass(slots=True)
class OpenEmbeddedReader:
    """Reads runs of BitBake's tasks, and each package only once."""

    store: Store
    _reader: ReadsReader = field(init=False)
    _packages: dict[tuple[str, str, Places], NeededPackage] = field(default_factory=dict)
    """By recipe, task hash and the places of the sysroots."""

    def __post_init__(self) -> None:
        self._reader = ReadsReader(self.store)

    def newest(self, key: TaskKey) -> list[RunName]:
        """Return the newest successful runs of a task, the newest first."""
        listed = [run for run in runs(self.store, key.recipe, key.task) if not run.failed]
        return listed[:NEWEST]

    def runs(self, key: TaskKey) -> list[RecordedReads]:
        """Return what the newest successful runs of a task read."""
        return [self.read(run) for run in self.newest(key)]

    def read(self, run: RunName) -> RecordedReads:
        """Return what a run read, and the packages in its sysroots."""
        objects = self.store.objects
        record = read_run_record(objects, run.commit)
        data = record.text(objects, READS)
        places = _places(record.facts(objects))
        return RecordedReads(
            run.key,
            decode_reads(data) if data else None,
            tuple(self._needed(run.key, record, places)),
            places=places,
        )

    def staged(self, run: RunName) -> Pair | None:
        """Return what a run of a recipe's STAGING task staged; None if it is not recorded."""
        return self._content(run.commit)

    def _needed(self, key: TaskKey, record: Record, places: Places) -> Iterator[NeededPackage]:
        """Yield the packages in the sysroots of a run."""
        rows = record.text(self.store.objects, SYSROOT_OF).decode("utf-8", "replace").splitlines()
        prefix = key.recipe[: key.recipe.rindex(".") + 1] if key.recipe.startswith("mc.") else ""
        for row in rows:
            name, _, task_hash = row.partition(" ")
            if _RECIPE.fullmatch(name):  # a fetched record may contain anything
                yield self._package(f"{prefix}{name}", task_hash, places)

    def _package(self, recipe: str, task_hash: str, places: Places) -> NeededPackage:
        name = (recipe, task_hash, places)
        if name not in self._packages:
            pair = self._staged_by(recipe, task_hash)
            self._packages[name] = NeededPackage(
                TaskKey.of(recipe, STAGING),
                () if pair is None else _sysroot_of(recipe, places),
                self._reader.items([] if pair is None else [pair], places),
            )
        return self._packages[name]

    def _staged_by(self, recipe: str, task_hash: str) -> Pair | None:
        """Return what a recipe staged with a BitBake task hash; None if it is not recorded."""
        objects = self.store.objects
        for commit in self.store.refs.list(runs_of(TaskKey.of(recipe, STAGING))).values():
            facts = read_run_record(objects, commit).facts(objects)
            if facts.get(BITBAKE_HASH) != task_hash:
                continue
            content = self._content(commit)
            if content is not None:  # a restored run has none
                return content
        return None

    def _content(self, commit: Oid) -> Pair | None:
        """Return a recipe's part of a sysroot, which native recipes stage below its path."""
        objects = self.store.objects
        facts = read_run_record(objects, commit).facts(objects)
        workdir = read_workdir(objects, commit)
        for top in (f"{facts.get('workdir', '')}/{SYSROOT_NATIVE}", ""):
            node = at_path(objects, workdir, os.fsencode(f"sysroot-destdir{top}"))
            if node is not None and node.is_directory:
                return node.pair
        return None


def is_native(recipe: str) -> bool:
    """Return whether a recipe stages its files in the native sysroot."""
    return any(mark in recipe for mark in _NATIVE_MARKS)


def _sysroot_of(recipe: str, places: Places) -> tuple[str, ...]:
    return places.native if is_native(recipe) else places.target


def _places(facts: Mapping[str, str]) -> Places:
    workdir = facts.get("workdir", "")
    if not workdir:
        return NOWHERE
    return Places((f"{workdir}/{SYSROOT}",), (f"{workdir}/{SYSROOT_NATIVE}",), is_sandboxed=False)
