"""Bisection as a state machine: from the verdicts so far, what to try next, or what was found. It
runs nothing itself.

Two searches. Over builds in a line, of which the first is good and the last is bad, by halving;
builds that give the same tree have the same verdict, and are one. Over a set of changes, all of
which together are bad and none of which is good, for the fewest that are bad: by halving again, and
what that leaves by delta debugging (Zeller and Hildebrandt, "Simplifying and Isolating
Failure-Inducing Input", 2002), which holds whatever the verdicts. Both ask the same question twice
only of a caller that forgets the answer, so that going on after an interruption is to begin anew
with all verdicts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import ceil, log2
from typing import Literal

Verdict = Literal["good", "bad", "skip"]


@dataclass(frozen=True, slots=True)
class Try:
    """The next one to try: its place in the line, and how many more steps there are at the most."""

    index: int
    left: int


@dataclass(frozen=True, slots=True)
class Step:
    """The last good one and the first bad one; what is between them could not be told."""

    good: int
    bad: int


def next_build(trees: Sequence[str | None], verdicts: Mapping[str, Verdict]) -> Try | Step:
    """Return which of a line to try next, or the step at which it turns bad.

    `trees` has the id of what each gives, None of one that gives nothing to try; the first is good,
    the last bad. What can't be told often comes in a row, so that the middle of the longest row
    without it is tried.
    """
    told = ((tree, index) for index, tree in enumerate(trees) if tree is not None)
    groups = [
        (tree, [index for _, index in each]) for tree, each in groupby(told, lambda pair: pair[0])
    ]
    known = {**verdicts, str(trees[0]): "good", str(trees[-1]): "bad"}
    said = [known.get(tree) for tree, _ in groups]
    high = said.index("bad")
    low = max(at for at in range(high) if said[at] == "good")
    rows = [
        list(row)
        for skip, row in groupby(range(low + 1, high), lambda at: said[at] == "skip")
        if not skip
    ]
    if not rows:
        return Step(groups[low][1][-1], groups[high][1][0])
    row = max(rows, key=len)
    return Try(groups[row[(len(row) - 1) // 2]][1][0], ceil(log2(sum(map(len, rows)) + 1)))


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

    None of them is good, all of them are bad. What can't be told counts as not bad.
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
    found: list[int] = []
    while True:
        low, high = (
            0,
            len(changes),
        )  # how many of them with those that were found are not bad, and how many are
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if is_bad(changes[:middle] + found) else (middle, high)
        found = [changes[high - 1], *found]
        changes = changes[: high - 1]
        if not changes or is_bad(found):
            return found


def _fewest(changes: list[int], is_bad: Callable[[list[int]], bool]) -> list[int]:
    """Return those of the changes without any one of which they are not bad: delta debugging."""
    parts = 2
    while len(changes) > 1:
        chunks = [
            changes[at * len(changes) // parts : (at + 1) * len(changes) // parts]
            for at in range(parts)
        ]
        rests = (
            [[each for each in changes if each not in chunk] for chunk in chunks]
            if parts > 2
            else []
        )
        smaller = next((each for each in [*chunks, *rests] if is_bad(each)), None)
        if smaller is None and parts >= len(changes):
            return changes
        if smaller is None:
            parts = min(len(changes), 2 * parts)
        else:
            parts = 2 if smaller in chunks else max(2, parts - 1)
            changes = smaller
    return changes


def joint_verdict(verdicts: Sequence[Verdict]) -> tuple[Verdict, bool]:
    """Return the verdict of several runs of one command, and whether they disagreed: one that is
    bad is enough.
    """
    for each in ("bad", "good"):
        if each in verdicts:
            return each, any(other != each for other in verdicts)
    return "skip", False
