"""Advise on the dependencies of BitBake's recipes, from the records of their tasks.

A recipe declares the recipes whose do_populate_sysroot its tasks need: those of DEPENDS. Its
sysroots also contain what these need. Files in recorded WORKDIRs state what a configure script did
not find; uses of packages are known only if the tasks have lists of reads.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

from prov.dependencies.advice import Advice
from prov.dependencies.findings import (
    Certainty,
    Floating,
    Runs,
    Unused,
    find_floating,
    find_transitive,
    find_unused,
    traced_lookups,
)
from prov.dependencies.openembedded_reads import STAGING, OpenEmbeddedReader, is_native
from prov.dependencies.patches import REMOVED
from prov.dependencies.providers import Provider, provided_files
from prov.dependencies.recorded import stated_lookups
from prov.errors import NameUnknown, StoreError
from prov.history.inputs import read_inputs
from prov.reads.buildfiles.collect import BuildFiles
from prov.records.build_list import BuildList, walk_builds
from prov.records.keys import TaskKey
from prov.records.record import read_run_record, read_workdir
from prov.store.repository import Store
from prov.text import few

BUILDER = "bitbake"
"""The fact `builder` of BitBake's builds."""
PREPARING = ("do_prepare_recipe_sysroot", "do_configure")
"""The tasks that need the recipes of DEPENDS; other tasks get additional ones from classes."""
FAKEROOT = "pseudo-native"
"""The recipe that BitBake executes from outside the sysroots, for fakeroot tasks."""
CONFIGURING = ("do_compile", "do_configure")
"""The tasks whose WORKDIR contains the files of a configure script; the first one counts."""


def is_bitbakes(store: Store) -> bool:
    """Return whether the latest build of a store was recorded by BitBake."""
    build = BuildList.latest(store)
    return build is not None and build.facts().get("builder") == BUILDER


@dataclass(slots=True)
class OpenEmbeddedAdvisor:
    """Advises on recipes of BitBake builds. `minimum` is the number of traces to require."""

    store: Store
    minimum: int = 1
    _reader: OpenEmbeddedReader = field(init=False)

    def __post_init__(self) -> None:
        self._reader = OpenEmbeddedReader(self.store)

    def recipes(self) -> list[str]:
        """Return the recipes in the latest build."""
        build = BuildList.latest(self.store)
        return build.recipes() if build is not None else []

    def advice(self, name: str) -> Advice:
        """Return the advice for a recipe. Raises NameUnknown for one without a build."""
        build = self._last_build(name)
        keys = sorted(build.lines(name))
        recorded = {key: self._reader.runs(key) for key in keys}
        brought_by = {own: self._dependencies(build, own) for own in self._declared(keys)}
        packages = {package for own in recorded.values() for run in own for package in run.has}
        chains = {package.recipe: _chain(name, package.recipe, brought_by) for package in packages}
        bringers = {
            own.recipe: frozenset(by for by, brought in brought_by.items() if own.recipe in brought)
            for own in packages
        }
        prepared = self._declared([key for key in keys if key.task in PREPARING])
        depends = [own for own in prepared if own.rpartition(".")[2] != FAKEROOT]
        unused, unknown = find_unused(
            name, [TaskKey.of(own, STAGING) for own in depends], recorded, minimum=self.minimum
        )
        available = {name, *brought_by, *chains}
        return Advice(
            name,
            tuple(map(_explained, unused)),
            tuple(self._floating(build, name, recorded, available)),
            tuple(find_transitive(name, chains, bringers, recorded)),
            unknown=tuple(unknown),
        )

    def _last_build(self, name: str) -> BuildList:
        """Return the last build with a recipe. Raises NameUnknown."""
        for build in walk_builds(BuildList.latest(self.store)):
            if build.lines(name):
                return build
        raise NameUnknown(f"no build of {name} is recorded", hint="run `prov builds`")

    def _floating(
        self, build: BuildList, name: str, recorded: Runs, available: Collection[str]
    ) -> list[Floating]:
        """Return the dependencies that a recipe looks for among those not `available` to it."""
        lookups = traced_lookups(recorded)
        stated = self._stated(sorted(build.lines(name)), is_native=is_native(name))
        for path, texts in stated.items():
            lookups.setdefault(path, []).extend(texts)
        others = [own for own in build.recipes() if own not in available]
        provided = provided_files(self.store.objects, self._providers(build, others), lookups)
        cyclic = frozenset(own for own in provided if name in self._dependencies(build, own))
        return find_floating(name, lookups, provided, cyclic)

    def _declared(self, keys: list[TaskKey]) -> list[str]:
        """Return the recipes whose staged files a recipe's tasks need directly."""
        names: dict[str, None] = {}
        for key in keys:
            for run in self._reader.newest(key)[:1]:
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
        for run in self._reader.newest(key)[:1] if key is not None else ():
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
            for run in self._reader.newest(key)[:1]:
                pair = self._reader.staged(run)
                yield Provider(key, is_native(recipe), () if pair is None else (pair,))


def _chain(recipe: str, package: str, brought_by: Mapping[str, set[str]]) -> tuple[str, ...]:
    """Return why a package is in the sysroots of a recipe; empty if that is not recorded.

    The hashes of tasks, and so the records, lack some dependencies, for example quilt-native.
    """
    if package in brought_by:
        return (f"{recipe} depends on {package}",)
    for declared, brought in sorted(brought_by.items()):
        if package in brought:
            return (f"{recipe} depends on {declared}", f"which needs {package}")
    return ()


def _explained(unused: Unused) -> Unused:
    """Return a finding with the reason why it is only a candidate: no BitBake task is traced."""
    if unused.certainty != Certainty.CANDIDATE:
        return unused
    return replace(unused, reason=f"{few(unused.tasks)} opened none of its files")


def configuration_of(advice: Advice) -> str:
    """Return advice as lines for a configuration file or an append file of BitBake."""
    recipe = advice.recipe
    lines = [
        f'DEPENDS:remove:pn-{recipe} = "{unused.package.recipe}"'
        for unused in advice.unused
        if unused.certainty in REMOVED
    ]
    for unused in advice.unused:
        if unused.certainty == Certainty.CANDIDATE:
            lines.append(f"# {unused.reason}: build without it to confirm")
            lines.append(f'# DEPENDS:remove:pn-{recipe} = "{unused.package.recipe}"')
    added = [transitive.package.recipe for transitive in advice.transitive]
    lines += [f'DEPENDS:append:pn-{recipe} = " {name}"' for name in added]
    for floating in advice.floating:
        lines.append(f"# {floating.evidence[0]}: declare it, or disable it in PACKAGECONFIG")
        if not floating.is_cyclic:
            lines.append(f'DEPENDS:append:pn-{recipe} = " {floating.provider}"')
    return "".join(f"{line}\n" for line in lines)
