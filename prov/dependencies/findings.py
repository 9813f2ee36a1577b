"""Judge a recipe's dependencies by what its tasks used.

A dependency is *unused* if every task that has it in its sysroots was traced completely and used
none of its files. It is a *candidate* if less is known: failed lookups and uses of `stat` were not
recorded, or a task listed a folder that contains its file names. If a list of reads that the
judgement needs is incomplete or missing, nothing is concluded. Any recorded use, also one in an
incomplete list, shows that a dependency is used.

This module is pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property

from prov.dependencies.usage import NOWHERE, NeededPackage, Places, Uses, uses_of
from prov.reads.reads import COMPLETE, INCOMPLETE, NOT_RECORDED, Read, Reads
from prov.records.keys import TaskKey

SHARED = "*"
_PROGRAM = re.compile(r"/(s?bin|libexec)/")
_SHARED_LIBRARY = re.compile(r"\.so\.[0-9.]+$")


class Certainty(StrEnum):
    """How certain a finding is."""

    PROVED = "proved"
    """A build without the dependency has the same output."""
    TRACED = "traced"
    """No complete trace contains a use."""
    CANDIDATE = "candidate"
    """No use was recorded, but not every kind of use was."""
    NEEDED = "needed"
    """No use was recorded, but without the dependency a task fails or has a different output."""


@dataclass(frozen=True)
class RecordedReads:
    """What one run of a task read, and the packages and host tools that it had."""

    key: TaskKey
    reads: Reads | None
    """None if the record of the run has no list of reads."""
    packages: tuple[NeededPackage, ...] = ()
    tools: Mapping[str, str] = field(default_factory=dict)
    """Host tools that the task declares itself: name -> path."""
    places: Places = NOWHERE
    is_isolated: bool = False
    """Whether no process outside could read files for it: it had a sandbox, and no network."""
    tool_files: Mapping[str, str] = field(default_factory=dict)
    """Name of such a tool -> its path without symbolic links, if the record states it."""

    @cached_property
    def uses(self) -> Uses:
        """What the run used of its packages."""
        return uses_of(self.packages, self.reads or Reads(()))

    @property
    def has(self) -> frozenset[TaskKey]:
        """The packages in the sysroots of the run."""
        return frozenset(package.key for package in self.packages)

    @property
    def gap(self) -> str:
        """Why opens of packages may be missing from the list; empty if none are."""
        if self.reads is None:
            return "no list of reads is recorded"
        return "" if self.reads.has_opens_of_sysroots else self.reads.opens


def evidence(key: TaskKey, read: Read) -> str:
    """Return a use as text: `hello:compile opened /build/sysroot/usr/include/zlib.h`."""
    return f"{key} {_verb(read)} {read.path}"


def _verb(read: Read) -> str:
    verbs = {"x": "executed", "o": "opened", "d": "listed", "l": "read the link", "s": "inspected"}
    return next((verb for kind, verb in verbs.items() if kind in read.kinds), "looked for")


@dataclass(frozen=True, slots=True)
class Unused:
    """A declared dependency that no task of the recipe uses."""

    recipe: str
    package: TaskKey
    certainty: Certainty
    tasks: tuple[TaskKey, ...]
    """The tasks that have it in their sysroots."""
    reason: str = ""
    """For a candidate, what is not known. For a needed one, the result without it."""


@dataclass(frozen=True, slots=True)
class Floating:
    """A recipe that is not declared, and provides files that tasks looked for in vain."""

    recipe: str
    provider: str
    evidence: tuple[str, ...]
    is_cyclic: bool = False
    """Whether the provider depends on the recipe, so that it cannot be declared."""


@dataclass(frozen=True, slots=True)
class Transitive:
    """A used package that is in the sysroots only as a dependency of a different package."""

    recipe: str
    package: TaskKey
    chain: tuple[str, ...]
    """Why it is in the sysroots: `hello depends on greet`, `which needs words at run time`."""
    evidence: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unknown:
    """A task about whose dependencies nothing is concluded."""

    task: TaskKey
    reason: str


SysrootPath = tuple[bool, str]
"""Whether a path is in the native sysroot, and the path there."""
Runs = Mapping[TaskKey, Sequence[RecordedReads]]
"""Task of the recipe -> its recorded runs, the newest first."""


def find_unused(
    recipe: str, declared: Iterable[TaskKey], runs: Runs, *, minimum: int = 1
) -> tuple[list[Unused], list[Unknown]]:
    """Return the declared packages without a use, and the tasks about which nothing is concluded.

    `minimum` is the number of complete traces that each task needs.
    """
    unused: list[Unused] = []
    unknown: dict[TaskKey, str] = {}
    for package in sorted(set(declared)):
        tasks = {key: own for key, own in runs.items() if own and package in own[0].has}
        gaps = _gaps(tasks)
        if gaps:
            unknown |= gaps
        elif tasks and not any(_is_used(package, own) for own in tasks.values()):
            unused.append(_judged(recipe, package, tasks, minimum))
    return unused, [Unknown(key, reason) for key, reason in sorted(unknown.items())]


def _gaps(tasks: Runs) -> dict[TaskKey, str]:
    """Return the tasks without a run whose opens are complete, and why the newest has none."""
    return {key: own[0].gap for key, own in tasks.items() if all(run.gap for run in own)}


def _is_used(package: TaskKey, runs: Sequence[RecordedReads]) -> bool:
    return any(package in run.uses.used or _is_hidden(package, run) for run in runs)


def _is_hidden(package: TaskKey, run: RecordedReads) -> bool:
    """Return whether the place of a package is unknown, so that its uses cannot be recognized."""
    return any(own.key == package and not own.places for own in run.packages)


def _judged(recipe: str, package: TaskKey, tasks: Runs, minimum: int) -> Unused:
    finding = Unused(recipe, package, Certainty.TRACED, tuple(sorted(tasks)))
    for key in finding.tasks:
        complete = [run for run in tasks[key] if package in run.has and is_traced(run)]
        if len(complete) < minimum:
            reason = f"{len(complete)} of {minimum} complete traces of {key} are recorded"
            doubt = _doubt(tasks[key][0])
            reason += f" (the last one is {doubt})" if doubt else ""
            return replace(finding, certainty=Certainty.CANDIDATE, reason=reason)
        listed = (run.uses.listed.get(package) for run in complete)
        folder = next(filter(None, listed), None)
        if folder is not None:
            reason = f"{key} listed {folder}"
            return replace(finding, certainty=Certainty.CANDIDATE, reason=reason)
    return finding


def _doubt(run: RecordedReads) -> str:
    """Return why the trace of a run is incomplete; empty for a complete one, or without a trace."""
    probes = run.reads.probes if run.reads is not None else NOT_RECORDED
    return "" if probes in (COMPLETE, NOT_RECORDED) else probes


def is_traced(run: RecordedReads) -> bool:
    """Return whether the list of reads contains every use of a package.

    If the list of opens is complete, a trace is incomplete only because of influences other than
    paths (`prov.reads.uses`), such as /proc or a socket. A process at the other end of a socket may
    have read files, unless the run was isolated.
    """
    if run.reads is None or run.reads.opens != COMPLETE:
        return False
    is_doubtful = run.reads.probes.startswith(INCOMPLETE)
    return run.reads.probes == COMPLETE or (is_doubtful and run.is_isolated)


def find_transitive(
    recipe: str,
    chains: Mapping[str, tuple[str, ...]],
    brought_by: Mapping[str, frozenset[str]],
    runs: Runs,
) -> list[Transitive]:
    """Return the used packages that only a different package's run-time dependencies bring.

    `chains` maps the recipe of a package to its chain of dependencies: one link if it is declared.
    `brought_by` maps it to the recipes whose run-time dependencies lead to it: programs of these
    may use it without making it a dependency of the recipe. If the list does not name programs, any
    program of these that the task opened may have used it. A linker opens `libx.so.1` if another
    library needs it, and `libx.so` if the recipe does: the first alone is not a use by the recipe.
    """
    texts_of: dict[TaskKey, list[str]] = {}
    for own in runs.values():
        for run in own:
            programs = _programs(run.packages)
            opened = _opened_programs(run)
            for package, rows in run.uses.used.items():
                if len(chains.get(package.recipe, ())) < 2:
                    continue
                bringers = brought_by.get(package.recipe, frozenset())
                if not bringers.isdisjoint(opened):
                    continue
                rows = tuple(row for row in rows if not _is_indirect(row, programs, bringers))
                texts = [evidence(run.key, row) for row in rows]
                texts_of.setdefault(package, []).extend(texts)
    return [
        Transitive(recipe, package, chains[package.recipe], tuple(dict.fromkeys(texts)))
        for package, texts in sorted(texts_of.items())
        if texts
    ]


def _programs(packages: Iterable[NeededPackage]) -> dict[str, str]:
    """Return the absolute path of each file of a package -> the package's recipe."""
    return {
        f"{place}/{path}": package.key.recipe
        for package in packages
        for place in package.places
        for path, item in package.items.items()
        if not item.is_folder
    }


def _opened_programs(run: RecordedReads) -> frozenset[str]:
    """Return the recipes whose programs a run may have executed.

    Empty if the list of reads contains the programs that used each path.
    """
    if run.reads is None or run.reads.probes != NOT_RECORDED:
        return frozenset()
    return frozenset(
        package.recipe
        for package, rows in run.uses.used.items()
        if any(_PROGRAM.search(row.path) for row in rows)
    )


def _is_indirect(read: Read, programs: Mapping[str, str], bringers: frozenset[str]) -> bool:
    """Return whether other packages, or other tasks, may be the only users of a path."""
    users = {programs.get(program, "") for program in read.programs}
    is_own = bool(users) and users <= bringers
    return is_own or SHARED in read.kinds or _SHARED_LIBRARY.search(read.path) is not None


Lookups = Mapping[SysrootPath, Sequence[str]]
"""Missing path in a sysroot -> evidence of lookups."""


def find_floating(
    recipe: str,
    lookups: Lookups,
    provided: Mapping[str, Sequence[SysrootPath]],
    cyclic: frozenset[str],
) -> list[Floating]:
    """Return the recipes that provide files which tasks looked for in vain.

    `provided` maps a recipe to such files. The recipes in `cyclic` depend on this one.
    """
    floating = []
    for provider, paths in sorted(provided.items()):
        texts = dict.fromkeys(text for path in paths for text in lookups.get(path, ()))
        if provider != recipe and texts:
            floating.append(Floating(recipe, provider, tuple(texts), provider in cyclic))
    return floating


def traced_lookups(runs: Runs) -> dict[SysrootPath, list[str]]:
    """Return the paths in sysroots that tasks looked for in vain, as their traces show."""
    tasks = {
        (path, run.key)
        for own in runs.values()
        for run in own
        for row in run.uses.missing
        if (path := run.places.inside(row.path)) is not None
    }
    lookups: dict[SysrootPath, list[str]] = {}
    for path, key in sorted(tasks):
        lookups.setdefault(path, []).append(f"{key} looked for {path[1]}")
    return lookups
