"""The numbers of runs: from 1 without a hole, since a search for the last one counts up.

Runs, the records that stand for them, and states of a WORKDIR that no task made are numbered.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice

from prov.fsck.findings import Problem
from prov.records.refs import RECORDS, TAGS, OutsideRef, RecordRef, RunRef, parse_ref
from prov.store.objects import Oid

MOST = 100
"""So many holes of one series are reported."""
Series = RunRef | OutsideRef
"""The first of the refs that are numbered together."""


@dataclass(frozen=True, slots=True)
class Hole:
    """A number that neither a run nor a record has, below one that is in use."""

    ref: Series
    after: Series
    """The next one that exists: a tag, or a tag for which a record stands."""

    @property
    def moves(self) -> bool:
        """Whether later numbers may move down: no build's list names them."""
        return isinstance(self.ref, OutsideRef) or self.ref.failed

    @property
    def series(self) -> Series:
        """The first ref of the series."""
        return replace(self.ref, number=1)


def find_holes(names: Iterable[str]) -> Iterator[Hole]:
    """Yield the holes in the numbers of runs, as these refs have them."""
    numbers_of: dict[Series, set[int]] = {}
    for name in names:
        ref = _numbered(name)
        if ref is not None:
            numbers_of.setdefault(replace(ref, number=1), set()).add(ref.number)
    for series, numbers in numbers_of.items():
        # a number may be huge: a set of all below it would not fit in memory
        missing = (number for number in range(1, max(numbers)) if number not in numbers)
        for number in islice(missing, MOST):
            later = min(other for other in numbers if other > number)
            yield Hole(replace(series, number=number), replace(series, number=later))


def missing_numbers(names: Mapping[str, Oid]) -> Iterator[Problem]:
    """Yield a problem for each hole in the numbers of runs."""
    for hole in find_holes(names):
        what = "is no run, though there are later ones, which are not seen behind this hole"
        repair = "the record of the next run stands in for it"
        if hole.moves:
            repair = "the later ones move down"
        yield Problem("run number", str(hole.ref), what, (str(hole.after),), repair)


def moves_down(series: Series, names: Iterable[str]) -> list[tuple[Series, Series]]:
    """Return the tags of a series that must move, and where to, so that no number is missing."""
    tags = (parse_ref(name) for name in names if name.startswith(f"{series.prefix}/"))
    present = sorted(tag.number for tag in tags if isinstance(tag, RunRef | OutsideRef))
    return [
        (replace(series, number=old), replace(series, number=new))
        for new, old in enumerate(present, 1)
        if new != old
    ]


def _numbered(name: str) -> Series | None:
    if not name.startswith((TAGS, RECORDS)):
        return None
    match parse_ref(name):
        case RunRef() | OutsideRef() as tag:
            return tag
        case RecordRef() as record:
            return record.run
    return None
