"""Check whether a store is whole.

That is objects, refs, records and builds; and beside them pools, sysroots' states, caches and
leftovers. git checks the objects while a process of ours checks what they mean. Most stores are
whole, and then that is all. If git finds something, each pack is checked, and what can be read of
the damaged ones is put together elsewhere, so that all later checks read whole objects. Nothing of
the store changes.
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
from prov.processes import decode_answer, start_child
from prov.records.refs import BUILDS
from prov.store.integrity import GitFsck, PackState, check_packs, listed, loose_objects, malformed
from prov.store.objects import Oid
from prov.store.rawrefs import RawRefs, read_refs
from prov.store.refs import HEAD
from prov.store.repository import Store
from prov.store.shadow import shadow_of

Report = Callable[[str], None]
"""Takes a line about what is being done."""
MOST = 1000
"""So many missing objects are reported one by one."""
SALVAGE = "what can be read is written to a new pack; the old one is kept in damaged/"
RESTORE = (
    "looked for in pools, WORKDIRs and sources; if it is nowhere, the refs that hold it are dropped"
)

NO_BUILDS = Problem(
    "ref", BUILDS, "is missing, though there are builds", repair="runs and builds get refs again"
)


@dataclass(frozen=True, slots=True)
class Findings:
    """The result of checking a store."""

    problems: list[Problem]
    packs: list[PackState] = field(default_factory=list)
    """Those that are damaged."""
    bad: frozenset[Oid] = frozenset()
    """Objects that are what their ids say, and not what such an object should be."""
    deep: bool = False
    """Objects are damaged or missing."""

    @property
    def wrong(self) -> list[Problem]:
        """What is wrong, without leftovers and caches."""
        return [problem for problem in self.problems if not problem.harmless]


def head_problem(path: Path) -> Problem | None:
    """Return what is wrong with a store's HEAD, without which git does not see a repository."""
    try:
        text = (path / "HEAD").read_bytes()
    except OSError:
        text = b""
    if text == HEAD:
        return None
    return Problem("store", "HEAD", "is not what every store has", repair="it is written anew")


def check(store: Store, *, thorough: bool = False, report: Report = lambda text: None) -> Findings:
    """Return everything that is not as it should be; `thorough` reads the pools' files too.

    Changes nothing.
    """
    report("looking at objects, refs and records")
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
            return Findings(cast(list[Problem], decode_answer(data, status, "looking at records")))
    finally:
        if not done:  # what it finds in a damaged store is nothing to go by
            child.kill(signal.SIGKILL)
            os.waitpid(child.pid, 0)
    return _deep(store, refs, lines, thorough=thorough, report=report)


def _lost_packs(store: Store) -> bool:
    indexes = store.objects.folder.glob("pack-*.idx")
    return any(not path.with_suffix(".pack").exists() and path.exists() for path in indexes)


def _meaning(store: Store, refs: RawRefs, *, thorough: bool) -> list[Problem]:
    """Return what is wrong in a store whose objects are whole."""
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
    """Return refs without those that are known to be wrong."""
    wrong = {problem.where for problem in problems if problem.kind == "ref"} - {BUILDS}
    return {name: oid for name, oid in refs.items() if name not in wrong}


def check_refs(refs: RawRefs) -> Iterator[Problem]:
    """Yield what is wrong with the files that hold refs."""
    for wrong in refs.packed_wrong:
        yield Problem(
            "ref", "packed-refs", wrong, repair="it is written anew with the lines that can be read"
        )
    for name, wrong in refs.broken.items():
        yield Problem("ref", name, wrong, repair="it is dropped, or gets what its records say")


def _deep(
    store: Store, refs: RawRefs, lines: list[str], *, thorough: bool, report: Report
) -> Findings:
    """Return what is wrong in a store whose objects or refs are damaged; `lines` are git's."""
    report("something is wrong; looking at every pack")
    words = malformed(lines)
    bad = frozenset(words)
    states = check_packs(store.objects.folder, bad)
    damaged = [state for state in states if state.wrong]
    problems = [*_damaged_files(store, damaged, bad), *check_refs(refs)]
    with shadow_of(store, states, bad) as view:
        report("looking for what is missing")
        reach = Reach.of(view.objects)
        broken = reach.look(refs.names)
        problems += _missing(store, reach, broken, words, damaged)
        problems += _meaning_of_rest(view, refs, broken, problems)
        view.path = store.path
        problems += check_disk(view, thorough=thorough)
    if all(problem.harmless for problem in problems):
        # check again: packs may have been joined, or refs changed, while git read them
        lines = GitFsck.start(store.path).answer() if lines else []
        problems += [Problem("object", "git fsck", line, repair="none is known") for line in lines]
    return Findings(problems, damaged, bad, deep=True)


def _damaged_files(
    store: Store, damaged: list[PackState], bad: frozenset[Oid]
) -> Iterator[Problem]:
    """Yield the packs, and the files of single objects, that are damaged."""
    for state in damaged:
        yield Problem("pack", f"objects/pack/{state.name}", state.wrong, repair=SALVAGE)
    for path, oid, wrong in loose_objects(store.path):
        if wrong or oid in bad:
            where = os.path.relpath(path, store.path)
            what = wrong or "is malformed"
            yield Problem("object", where, what, repair="it is kept in damaged/")


def _meaning_of_rest(
    view: Store, refs: RawRefs, broken: dict[str, Oid], problems: list[Problem]
) -> list[Problem]:
    """Return what is wrong with the refs below which nothing is missing."""
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
    """Yield the objects that refs hold and that can't be read, each with those refs.

    `words` is what git says of malformed objects.
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
        yield Problem("object", oid.hex(), what, (), "it is left out of its pack")


def _lost_text(oid: Oid, contents: dict[str, set[Oid]]) -> str:
    pack = next((name for name, oids in contents.items() if oid in oids), None)
    return "is missing" if pack is None else f"can't be read any more; it was in {pack}"
