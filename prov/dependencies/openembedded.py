"""Advise on the dependencies of BitBake's recipes, from the records of their tasks.

A recipe declares the recipes whose do_populate_sysroot its tasks need: those of DEPENDS. Its
sysroots also contain what these need. Files in recorded WORKDIRs state what a configure script did
not find; uses of packages are known only if the tasks have lists of reads.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from prov.dependencies.advice import Advice
from prov.dependencies.findings import (
    RecordedReads,
    find_floating,
    find_transitive,
    find_unused,
    traced_lookups,
)
from prov.dependencies.patches import REMOVED
from prov.dependencies.providers import Provider, provided_files
from prov.dependencies.recorded import NEWEST, ReadsReader, stated_lookups
from prov.dependencies.usage import NOWHERE, NeededPackage, Places
from prov.errors import NameUnknown, StoreError
from prov.history.inputs import read_inputs
from prov.history.names import RunName, runs
from prov.reads.buildfiles.collect import BuildFiles
from prov.reads.reads import decode_reads
from prov.recipes.recipe import NATIVE, SYSROOT, SYSROOT_NATIVE
from prov.records.build_list import BuildList, walk_builds
from prov.records.entries import READS, SYSROOT_OF
from prov.records.keys import TaskKey
from prov.records.record import Record, read_run_record, read_workdir
from prov.records.refs import runs_of
from prov.store.repository import Store
from prov.worktree.attributes import Pair, at_path

BUILDER = "bitbake"
"""The fact `builder` of BitBake's builds."""
STAGING = "do_populate_sysroot"
CONFIGURING = ("do_compile", "do_configure")
"""The tasks whose WORKDIR contains the files of a configure script; the first one counts."""
_RECIPE = re.compile(r"[\w.+-]+")
_NATIVE_MARKS = (NATIVE, "-cross", "-crosssdk")
"""Parts of the names of recipes in the native sysroot."""


def is_bitbakes(store: Store) -> bool:
    """Return whether the latest build of a store was recorded by BitBake."""
    build = BuildList.latest(store)
    return build is not None and build.facts().get("builder") == BUILDER


@dataclass(slots=True)
class OpenEmbeddedAdvisor:
    """Advises on recipes of BitBake builds. `minimum` is the number of traces to require."""

    store: Store
    minimum: int = 1
    _reader: ReadsReader = field(init=False)
    _staged: dict[tuple[str, str], Pair | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._reader = ReadsReader(self.store)

    def recipes(self) -> list[str]:
        """Return the recipes in the latest build."""
        build = BuildList.latest(self.store)
        return build.recipes() if build is not None else []

    def advice(self, name: str) -> Advice:
        """Return the advice for a recipe. Raises NameUnknown for one without a build."""
        builds = walk_builds(BuildList.latest(self.store))
        build = next((build for build in builds if build.lines(name)), None)
        if build is None:
            raise NameUnknown(f"no build of {name} is recorded", hint="run `prov builds`")
        keys = sorted(build.lines(name))
        recorded = {key: self._runs(key) for key in keys}
        declared = self._declared(keys)
        chains = {
            package.recipe: _chain(name, package.recipe, declared)
            for own in recorded.values()
            for run in own
            for package in run.has
        }
        packages = [TaskKey.of(recipe, STAGING) for recipe in declared]
        unused, unknown = find_unused(name, packages, recorded, minimum=self.minimum)
        lookups = traced_lookups(recorded)
        for path, texts in self._stated(keys, is_native=_is_native(name)).items():
            lookups.setdefault(path, []).extend(texts)
        others = [own for own in build.recipes() if own not in (name, *declared, *chains)]
        provided = provided_files(self.store.objects, self._providers(build, others), lookups)
        cyclic = frozenset(own for own in provided if name in self._dependencies(build, own))
        return Advice(
            name,
            tuple(unused),
            tuple(find_floating(name, lookups, provided, cyclic)),
            tuple(find_transitive(name, chains, {}, recorded)),
            unknown=tuple(unknown),
        )

    def _newest(self, key: TaskKey) -> list[RunName]:
        listed = [run for run in runs(self.store, key.recipe, key.task) if not run.failed]
        return listed[:NEWEST]

    def _runs(self, key: TaskKey) -> list[RecordedReads]:
        """Return the runs of a task with packages in its sysroots."""
        recorded = []
        for run in self._newest(key):
            record = read_run_record(self.store.objects, run.commit)
            packages = tuple(self._packages(key, record))
            data = record.text(self.store.objects, READS)
            reads = decode_reads(data) if data else None
            places = _places(record.facts(self.store.objects))
            recorded.append(RecordedReads(key, reads, packages, places=places))
        return recorded

    def _packages(self, key: TaskKey, record: Record) -> Iterator[NeededPackage]:
        """Yield the packages in the sysroots of a run."""
        places = _places(record.facts(self.store.objects))
        rows = record.text(self.store.objects, SYSROOT_OF).decode("utf-8", "replace").splitlines()
        prefix = key.recipe[: key.recipe.rindex(".") + 1] if key.recipe.startswith("mc.") else ""
        for row in rows:
            name, _, task_hash = row.partition(" ")
            if not _RECIPE.fullmatch(name):  # a fetched record may contain anything
                continue
            recipe = f"{prefix}{name}"
            pair = self._staged_by(recipe, task_hash)
            if pair is None:
                yield NeededPackage(TaskKey.of(recipe, STAGING), (), self._reader.items([], places))
                continue
            own = places.native if _is_native(recipe) else places.target
            items = self._reader.items([pair], places)
            yield NeededPackage(TaskKey.of(recipe, STAGING), own, items)

    def _staged_by(self, recipe: str, bitbake_hash: str) -> Pair | None:
        """Return what a recipe staged with a BitBake task hash; None if it is not recorded."""
        name = (recipe, bitbake_hash)
        if name not in self._staged:
            objects = self.store.objects
            commits = self.store.refs.list(runs_of(TaskKey.of(recipe, STAGING))).values()
            facts = {oid: read_run_record(objects, oid).facts(objects) for oid in commits}
            self._staged[name] = next(
                (
                    self._content(read_workdir(objects, oid), own)
                    for oid, own in facts.items()
                    if own.get("bitbake-taskhash") == bitbake_hash
                ),
                None,
            )
        return self._staged[name]

    def _content(self, workdir: Pair, facts: dict[str, str]) -> Pair | None:
        """Return a recipe's part of a sysroot, which native recipes stage below its path."""
        for top in (f"{facts.get('workdir', '')}/{SYSROOT_NATIVE}", ""):
            node = at_path(self.store.objects, workdir, os.fsencode(f"sysroot-destdir{top}"))
            if node is not None and node.is_directory:
                return node.pair
        return None

    def _declared(self, keys: list[TaskKey]) -> list[str]:
        """Return the recipes whose staged files a recipe's tasks need directly."""
        names: dict[str, None] = {}
        for key in keys:
            for run in self._newest(key)[:1]:
                try:
                    inputs = read_inputs(self.store.objects, key, run.task_hash)
                except StoreError:  # the inputs of a fetched run may stay on its machine
                    continue
                needed = [edge.key for edge in inputs.edges if edge.kind == "needs"]
                names |= dict.fromkeys(own.recipe for own in needed if own.task == STAGING)
        return list(names)

    def _dependencies(self, build: BuildList, name: str) -> set[str]:
        """Return the recipes that a recipe depends on, transitively."""
        dependencies: set[str] = set()
        pending = [name]
        while pending:
            for other in self._declared(sorted(build.lines(pending.pop()))):
                if other not in dependencies:
                    dependencies.add(other)
                    pending.append(other)
        return dependencies

    def _stated(self, keys: list[TaskKey], *, is_native: bool) -> dict[tuple[bool, str], list[str]]:
        tasks = {key.task: key for key in keys}
        key = next((tasks[task] for task in CONFIGURING if task in tasks), None)
        for run in self._newest(key)[:1] if key is not None else ():
            facts = read_run_record(self.store.objects, run.commit).facts(self.store.objects)
            tree = read_workdir(self.store.objects, run.commit).tree
            files = BuildFiles(self.store.objects, tree, facts.get("workdir", ""))
            return stated_lookups(run.key, files, is_native=is_native)
        return {}

    def _providers(self, build: BuildList, recipes: list[str]) -> Iterator[Provider]:
        for recipe in recipes:
            key = TaskKey.of(recipe, STAGING)
            if build.line(key) is None:
                continue
            for run in self._newest(key)[:1]:
                facts = read_run_record(self.store.objects, run.commit).facts(self.store.objects)
                pair = self._content(read_workdir(self.store.objects, run.commit), facts)
                yield Provider(key, _is_native(recipe), () if pair is None else (pair,))


def _places(facts: dict[str, str]) -> Places:
    workdir = facts.get("workdir", "")
    if not workdir:
        return NOWHERE
    return Places((f"{workdir}/{SYSROOT}",), (f"{workdir}/{SYSROOT_NATIVE}",), is_sandboxed=False)


def _is_native(recipe: str) -> bool:
    return any(mark in recipe for mark in _NATIVE_MARKS)


def _chain(recipe: str, package: str, declared: list[str]) -> tuple[str, ...]:
    if package in declared:
        return (f"{recipe} depends on {package}",)
    return (f"{recipe} does not depend on {package}", "a dependency of it does")


def configuration_of(advice: Advice) -> str:
    """Return advice as lines for a configuration file or an append file of BitBake."""
    recipe = advice.recipe
    lines = [
        f'DEPENDS:remove:pn-{recipe} = "{unused.package.recipe}"'
        for unused in advice.unused
        if unused.certainty in REMOVED
    ]
    added = [transitive.package.recipe for transitive in advice.transitive]
    lines += [f'DEPENDS:append:pn-{recipe} = " {name}"' for name in added]
    for floating in advice.floating:
        lines.append(f"# {floating.evidence[0]}: declare it, or disable it in PACKAGECONFIG")
        if not floating.is_cyclic:
            lines.append(f'DEPENDS:append:pn-{recipe} = " {floating.provider}"')
    return "".join(f"{line}\n" for line in lines)
