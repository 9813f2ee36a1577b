"""Find gaps in the numbers of runs.

The numbers start at 1 and must have no gap, because a search for the last run counts up. Runs,
records that stand for runs, and WORKDIR states made outside any task are numbered.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice

from prov.fsck.findings import Problem
from prov.records.refs import RECORDS, TAGS, OutsideRef, RecordRef, RunRef, parse_ref
from prov.store.objects import Oid

MOST = 100
"""Maximum number of gaps to report in one series."""
Series = RunRef | OutsideRef
"""The first ref of a numbered series."""


@dataclass(frozen=True, slots=True)
class Hole:
    """An unused number below a used one."""

    ref: Series
    after: Series
    """The next used number, as a tag, even if only its record exists."""

    @property
    def moves(self) -> bool:
        """Whether later numbers may move down, because no list of a build names them."""
        return isinstance(self.ref, OutsideRef) or self.ref.failed

    @property
    def series(self) -> Series:
        """The first ref of the series."""
        return replace(self.ref, number=1)


def find_holes(names: Iterable[str]) -> Iterator[Hole]:
    """Yield the gaps in the numbers of these refs."""
    numbers_of: dict[Series, set[int]] = {}
    for name in names:
        ref = _numbered(name)
        if ref is not None:
            numbers_of.setdefault(replace(ref, number=1), set()).add(ref.number)
    for series, numbers in numbers_of.items():
        # a number may be huge: a set of all smaller ones would not fit in memory
        missing = (number for number in range(1, max(numbers)) if number not in numbers)
        for number in islice(missing, MOST):
            later = min(other for other in numbers if other > number)
            yield Hole(replace(series, number=number), replace(series, number=later))


def missing_numbers(names: Mapping[str, Oid]) -> Iterator[Problem]:
    """Yield a problem for each gap in the numbers of runs."""
    for hole in find_holes(names):
        what = "is missing, and hides the later runs"
        repair = "replace it by the record of the next run"
        if hole.moves:
            repair = "renumber the later runs"
        yield Problem("run number", str(hole.ref), what, (str(hole.after),), repair)


def moves_down(series: Series, names: Iterable[str]) -> list[tuple[Series, Series]]:
    """Return the changes of a series' numbers that close all gaps, as pairs of old and new tag."""
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
