"""Check the integrity of a store.

The checks cover objects, refs, records and builds, and also pools, sysroot states, caches and
leftovers. git checks the objects while a child process checks refs, records and builds. Most stores
are intact, and that completes the check. If git reports damage, each pack is checked, and the
readable objects of damaged packs are copied to a temporary store for the remaining checks. A check
never changes the store.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from prov.fsck.builds import BuildChecker
from prov.fsck.disk import check_disk
from prov.fsck.findings import Problem
from prov.fsck.numbers import missing_numbers
from prov.fsck.orphans import has_builds
from prov.fsck.reach import Reach, holders
from prov.fsck.refs import RefChecker
from prov.fsck.shadow import shadow_of
from prov.processes import decode_answer, start_child
from prov.records.refs import BUILDS
from prov.store.integrity import GitFsck, PackState, check_packs, listed, loose_objects, malformed
from prov.store.objects import Oid
from prov.store.rawrefs import RawRefs, read_refs
from prov.store.refs import HEAD
from prov.store.repository import Store

Report = Callable[[str], None]
"""Receives one line of progress."""
MOST = 1000
"""Maximum number of missing objects to report individually."""
SALVAGE = "write the readable objects to a new pack; keep the old pack in damaged/"
RESTORE = "search pools, WORKDIRs, sources and remotes; if not found, delete the refs that hold it"

NO_BUILDS = Problem(
    "ref", BUILDS, "is missing, but the store has builds", repair="restore refs of runs and builds"
)


@dataclass(frozen=True, slots=True)
class Findings:
    """The result of checking a store."""

    problems: list[Problem]
    packs: list[PackState] = field(default_factory=list)
    """Damaged packs."""
    bad: frozenset[Oid] = frozenset()
    """Malformed objects, although their content matches their ids."""
    deep: bool = False
    """Whether objects or refs are damaged or missing."""

    @property
    def wrong(self) -> list[Problem]:
        """The problems except leftovers and caches."""
        return [problem for problem in self.problems if not problem.harmless]


def head_problem(path: Path) -> Problem | None:
    """Return what is wrong with a store's HEAD. Without a valid HEAD, git sees no repository."""
    try:
        text = (path / "HEAD").read_bytes()
    except OSError:
        text = b""
    if text == HEAD:
        return None
    return Problem("store", "HEAD", "has invalid content", repair="rewrite it")


def check(store: Store, *, thorough: bool = False, report: Report = lambda text: None) -> Findings:
    """Return all problems of a store; `thorough` reads the files in the pools too.

    Changes nothing.
    """
    report("checking objects, refs and records")
    refs = read_refs(store.path)
    child = start_child(lambda: _meaning(store, refs, thorough=thorough))
    done = False
    try:
        git = GitFsck.start(store.path)
        try:
            lines = git.answer()
        finally:
            git.stop()
        if not lines and not _lost_packs(store) and not refs.broken and not refs.packed_wrong:
            with os.fdopen(child.answer, "rb") as answer:
                data = answer.read()
            status, done = os.waitpid(child.pid, 0)[1], True
            return Findings(cast(list[Problem], decode_answer(data, status, "checking records")))
    finally:
        if not done:  # its findings in a damaged store are unreliable
            child.kill(signal.SIGKILL)
            os.waitpid(child.pid, 0)
    return _deep(store, refs, lines, thorough=thorough, report=report)


def _lost_packs(store: Store) -> bool:
    indexes = store.objects.folder.glob("pack-*.idx")
    return any(not path.with_suffix(".pack").exists() and path.exists() for path in indexes)


def _meaning(store: Store, refs: RawRefs, *, thorough: bool) -> list[Problem]:
    """Return the problems of a store with intact objects."""
    problems = [
        *check_refs(refs),
        *RefChecker(store.objects).check(refs.names),
        *missing_numbers(refs.names),
    ]
    if BUILDS not in refs.names and has_builds(store):
        problems.append(NO_BUILDS)
    builds = BuildChecker(store).check(_without(refs.names, problems))
    return [*problems, *builds, *check_disk(store, thorough=thorough)]


def _without(refs: dict[str, Oid], problems: list[Problem]) -> dict[str, Oid]:
    """Return refs without those known to be wrong."""
    wrong = {problem.where for problem in problems if problem.kind == "ref"} - {BUILDS}
    return {name: oid for name, oid in refs.items() if name not in wrong}


def check_refs(refs: RawRefs) -> Iterator[Problem]:
    """Yield the problems of the files that hold refs."""
    for wrong in refs.packed_wrong:
        yield Problem("ref", "packed-refs", wrong, repair="rewrite it with the readable lines")
    for name, wrong in refs.broken.items():
        yield Problem("ref", name, wrong, repair="restore it from the records, or delete it")


def _deep(
    store: Store, refs: RawRefs, lines: list[str], *, thorough: bool, report: Report
) -> Findings:
    """Return the problems of a store with damaged objects or refs; `lines` are git's messages."""
    report("damage found; checking every pack")
    words = malformed(lines)
    bad = frozenset(words)
    states = check_packs(store.objects.folder, bad)
    damaged = [state for state in states if state.wrong]
    problems = [*_damaged_files(store, damaged, bad), *check_refs(refs)]
    with shadow_of(store, states, bad) as view:
        report("searching for missing objects")
        reach = Reach.of(view.objects)
        broken = reach.look(refs.names)
        problems += _missing(store, reach, broken, words, damaged)
        problems += _meaning_of_rest(view, refs, broken, problems)
        view.path = store.path
        problems += check_disk(view, thorough=thorough)
    if all(problem.harmless for problem in problems):
        # check again: packs may have been joined, or refs changed, while git read them
        lines = GitFsck.start(store.path).answer() if lines else []
        problems += [Problem("object", "git fsck", line, repair="none") for line in lines]
    return Findings(problems, damaged, bad, deep=True)


def _damaged_files(
    store: Store, damaged: list[PackState], bad: frozenset[Oid]
) -> Iterator[Problem]:
    """Yield the damaged packs and files of single objects."""
    for state in damaged:
        yield Problem("pack", f"objects/pack/{state.name}", state.wrong, repair=SALVAGE)
    for path, oid, wrong in loose_objects(store.path):
        if wrong or oid in bad:
            where = os.path.relpath(path, store.path)
            what = wrong or "is malformed"
            yield Problem("object", where, what, repair="move it to damaged/")


def _meaning_of_rest(
    view: Store, refs: RawRefs, broken: dict[str, Oid], problems: list[Problem]
) -> list[Problem]:
    """Return the problems of the refs without missing objects."""
    whole = {name: oid for name, oid in refs.names.items() if name not in broken}
    rest = [*RefChecker(view.objects).check(whole), *missing_numbers(refs.names)]
    if BUILDS not in refs.names and BUILDS not in refs.broken and has_builds(view):
        rest.append(NO_BUILDS)
    rest += BuildChecker(view).check(_without(whole, [*problems, *rest]))
    return rest


def _missing(
    store: Store,
    reach: Reach,
    broken: dict[str, Oid],
    words: dict[Oid, str],
    damaged: list[PackState],
) -> Iterator[Problem]:
    """Yield the missing objects that refs hold, each with those refs.

    `words` are git's messages about malformed objects.
    """
    refs_of = holders(reach, broken)
    contents = {state.name: listed(store.objects.folder / f"{state.name}.idx") for state in damaged}
    for oid, names in list(refs_of.items())[:MOST]:
        if oid in words:
            what = f"is malformed: {words[oid]}"
        else:
            what = _lost_text(oid, contents)
        yield Problem("object", oid.hex(), what, tuple(sorted(names)), RESTORE)
    if len(refs_of) > MOST:
        more = list(refs_of.values())[MOST:]
        refs = tuple(sorted({name for names in more for name in names}))
        yield Problem("object", f"{len(more)} more objects", "are missing", refs, RESTORE)
    for oid in words.keys() - refs_of.keys():
        what = f"is malformed: {words[oid]}"
        yield Problem("object", oid.hex(), what, (), "remove it from its pack")


def _lost_text(oid: Oid, contents: dict[str, set[Oid]]) -> str:
    pack = next((name for name, oids in contents.items() if oid in oids), None)
    return "is missing" if pack is None else f"is unreadable in the damaged {pack}"
