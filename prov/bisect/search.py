"""Bisection as a state machine: given the verdicts so far, return the next try or the answer.

It runs nothing itself. There are two searches:

- Over consecutive builds, of which the first is good and the last is bad: binary search. Builds
  with the same tree have the same verdict and count as one.
- Over a set of changes, which are bad together and good if none is made, for the fewest that are
  bad: binary search, then delta debugging of the result (Zeller and Hildebrandt, "Simplifying and
  Isolating Failure-Inducing Input", 2002), which is correct for any verdicts.

Neither asks for a known verdict. To resume after an interruption, start again with all verdicts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from math import ceil, log2
from typing import Literal

Verdict = Literal["good", "bad", "skip"]


@dataclass(frozen=True, slots=True)
class Try:
    """The next build to try: its index, and the maximum number of remaining steps."""

    index: int
    left: int


@dataclass(frozen=True, slots=True)
class Boundary:
    """Indexes of the last good and the first bad build. Builds between them could not be judged."""

    good: int
    bad: int


def next_build(trees: Sequence[str | None], verdicts: Mapping[str, Verdict]) -> Try | Boundary:
    """Return the next build to try, or the boundary between good and bad builds.

    `trees` has the id of each build's tree, None for a build without one. The first build is good,
    the last is bad. Builds that cannot be judged are often consecutive, so the search tries the
    middle of the longest run of other builds.
    """
    groups = _groups(trees)
    all_verdicts = {**verdicts, str(trees[0]): "good", str(trees[-1]): "bad"}
    judged = [all_verdicts.get(str(trees[group.start])) for group in groups]
    high = judged.index("bad")
    low = max(at for at in range(high) if judged[at] == "good")
    rows = [
        list(row)
        for skipped, row in groupby(range(low + 1, high), lambda at: judged[at] == "skip")
        if not skipped
    ]
    if not rows:
        return Boundary(groups[low].stop - 1, groups[high].start)
    row = max(rows, key=len)
    middle = row[(len(row) - 1) // 2]
    return Try(groups[middle].start, ceil(log2(sum(map(len, rows)) + 1)))


def _groups(trees: Sequence[str | None]) -> list[range]:
    """Return the index range of each run of equal trees. Builds without a tree do not end a run."""
    present = [(tree, index) for index, tree in enumerate(trees) if tree is not None]
    groups = []
    for _, row in groupby(present, lambda pair: pair[0]):
        indexes = [index for _, index in row]
        groups.append(range(indexes[0], indexes[-1] + 1))
    return groups


@dataclass(frozen=True, slots=True)
class Combine:
    """The next set of changes to try, by index."""

    chosen: frozenset[int]
    left: int
    """Approximate number of remaining tries."""


@dataclass(frozen=True, slots=True)
class Fewest:
    """A minimal set of changes that are bad together: none of them can be omitted."""

    chosen: frozenset[int]


class _Unknown(Exception):
    def __init__(self, chosen: frozenset[int]) -> None:
        self.chosen = chosen


def next_combination(count: int, verdicts: Mapping[frozenset[int], Verdict]) -> Combine | Fewest:
    """Return the next combination of `count` changes to try, or a minimal bad one.

    No changes are good and all changes are bad. A combination that cannot be judged counts as not
    bad.
    """

    def is_bad(chosen: list[int]) -> bool:
        if not chosen or len(chosen) == count:
            return len(chosen) == count
        if frozenset(chosen) not in verdicts:
            raise _Unknown(frozenset(chosen))
        return verdicts[frozenset(chosen)] == "bad"

    try:
        return Fewest(frozenset(_fewest(_needed(list(range(count)), is_bad), is_bad)))
    except _Unknown as unknown:
        return Combine(unknown.chosen, ceil(log2(count)) + 1)


def _needed(changes: list[int], is_bad: Callable[[list[int]], bool]) -> list[int]:
    """Return some of the changes that are bad, found by binary search from the last to the first.

    They are a minimal set if more changes never turn bad into good.
    """
    needed: list[int] = []
    while True:
        # together with `needed`, the first `low` changes are not bad, the first `high` are
        low, high = 0, len(changes)
        while high - low > 1:
            middle = (low + high) // 2
            if is_bad(changes[:middle] + needed):
                high = middle
            else:
                low = middle
        needed = [changes[high - 1], *needed]
        changes = changes[: high - 1]
        if not changes or is_bad(needed):
            return needed


def _fewest(changes: list[int], is_bad: Callable[[list[int]], bool]) -> list[int]:
    """Return a minimal bad subset of the changes, by delta debugging."""
    parts = 2
    while len(changes) > 1:
        chunks = _chunks(changes, parts)
        subsets = [*chunks]
        if parts > 2:  # with two chunks, each is the complement of the other
            subsets += [[change for change in changes if change not in chunk] for chunk in chunks]
        smaller = next((subset for subset in subsets if is_bad(subset)), None)
        if smaller is not None:
            parts = 2 if smaller in chunks else max(2, parts - 1)
            changes = smaller
        elif parts < len(changes):
            parts = min(len(changes), 2 * parts)
        else:
            return changes
    return changes


def _chunks(changes: list[int], parts: int) -> list[list[int]]:
    """Return the changes in chunks of about equal length."""
    ends = [at * len(changes) // parts for at in range(parts + 1)]
    return [changes[start:end] for start, end in pairwise(ends)]


def joint_verdict(verdicts: Sequence[Verdict]) -> tuple[Verdict, bool]:
    """Return the joint verdict of several runs of a command, and whether they differ.

    One bad run makes it bad.
    """
    strongest: tuple[Verdict, ...] = ("bad", "good")
    for verdict in strongest:
        if verdict in verdicts:
            return verdict, any(other != verdict for other in verdicts)
    return "skip", False
