"""Bisection as a state machine: from the verdicts so far to what to try next, or to the answer.

It runs nothing itself.

Two searches. Over builds in a line, of which the first is good and the last is bad, by halving;
builds that give the same tree have the same verdict, and are one. Over a set of changes, all of
which together are bad and none of which is good, for the fewest that are bad: by halving again, and
what that leaves by delta debugging (Zeller and Hildebrandt, "Simplifying and Isolating
Failure-Inducing Input", 2002), which is right for any verdicts. Neither asks for a verdict that it
is given, so that a bisection continues after an interruption by starting again with all verdicts.
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
    """The next one to try: its place in the line, and how many more steps there are at the most."""

    index: int
    left: int


@dataclass(frozen=True, slots=True)
class Boundary:
    """The last good one and the first bad one; those between them could not be judged."""

    good: int
    bad: int


def next_build(trees: Sequence[str | None], verdicts: Mapping[str, Verdict]) -> Try | Boundary:
    """Return which of a line to try next, or where it turns bad.

    `trees` has the id of what each gives, None of one that gives nothing to try; the first is good,
    the last bad. Those that cannot be judged often come in a row, so that the middle of the longest
    row without one is tried.
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
    """Return the places of each row of equal trees, the first and the last of it; those without a
    tree are in no row, and do not end one.
    """
    present = [(tree, index) for index, tree in enumerate(trees) if tree is not None]
    groups = []
    for _, row in groupby(present, lambda pair: pair[0]):
        indexes = [index for _, index in row]
        groups.append(range(indexes[0], indexes[-1] + 1))
    return groups


@dataclass(frozen=True, slots=True)
class Combine:
    """The next set of changes to try, by their places."""

    chosen: frozenset[int]
    left: int
    """About how many more there are to try."""


@dataclass(frozen=True, slots=True)
class Fewest:
    """The fewest changes that are bad together: without any one of them it is not."""

    chosen: frozenset[int]


class _Unknown(Exception):
    def __init__(self, chosen: frozenset[int]) -> None:
        self.chosen = chosen


def next_combination(count: int, verdicts: Mapping[frozenset[int], Verdict]) -> Combine | Fewest:
    """Return which changes out of `count` to combine next, or the fewest that are bad together.

    None of them is good, all of them are bad. Those that cannot be judged count as not bad.
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
    """Return some of the changes that are bad, found by halving: the last that is needed, then the
    one before, …

    If more changes never turn bad into good, these are the fewest.
    """
    needed: list[int] = []
    while True:
        # with those that are needed, the first `low` changes are not bad, the first `high` are
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
    """Return those of the changes without any one of which they are not bad: delta debugging."""
    parts = 2
    while len(changes) > 1:
        chunks = _chunks(changes, parts)
        subsets = [*chunks]
        if parts > 2:  # of two chunks, each is the rest of the other
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
    """Return changes in so many chunks of about equal length."""
    ends = [at * len(changes) // parts for at in range(parts + 1)]
    return [changes[start:end] for start, end in pairwise(ends)]


def joint_verdict(verdicts: Sequence[Verdict]) -> tuple[Verdict, bool]:
    """Return the verdict of several runs of one command, and whether they differ.

    One bad run is enough.
    """
    strongest: tuple[Verdict, ...] = ("bad", "good")
    for verdict in strongest:
        if verdict in verdicts:
            return verdict, any(other != verdict for other in verdicts)
    return "skip", False
