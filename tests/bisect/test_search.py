"""Bisection as a pure state machine, tested with oracles: correct, without repeated questions."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from math import ceil, log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prov.bisect.search import (
    Boundary,
    Combine,
    Fewest,
    Try,
    Verdict,
    joint_verdict,
    next_build,
    next_combination,
)

Chosen = frozenset[int]
Line = list[str | None]
VERDICTS: st.SearchStrategy[Verdict] = st.sampled_from(["good", "bad", "skip"])

# over builds


def over_builds(
    trees: Line, say: Callable[[str], Verdict], known: dict[str, Verdict]
) -> tuple[Boundary, list[str]]:
    """Drive the machine to its end; return the result and the tried trees."""
    asked: list[str] = []
    while isinstance(found := next_build(trees, known), Try):
        tree = trees[found.index]
        assert tree is not None
        assert tree not in known, "asked twice"
        assert tree not in (trees[0], trees[-1]), "asked for what is known"
        known[tree] = say(tree)
        asked.append(tree)
    return found, asked


@st.composite
def lines(draw: st.DrawFn, *, gaps: bool) -> Line:
    """A line of builds with runs of equal trees and gaps without a tree."""
    runs: list[Line] = [["0"] * draw(st.integers(1, 3))]
    for number in range(1, draw(st.integers(2, 24))):
        if gaps:
            runs.append([None] * draw(st.integers(0, 2)))
        runs.append([str(number)] * draw(st.integers(1, 3)))
    return [tree for run in runs for tree in run]


def turning(point: int) -> Callable[[str], Verdict]:
    return lambda tree: "good" if int(tree) < point else "bad"


@given(st.data(), lines(gaps=True))
def test_a_single_boundary_is_found(data: st.DataObject, trees: Line) -> None:
    last = int(str(trees[-1]))
    point = data.draw(st.integers(1, last))
    found, asked = over_builds(trees, turning(point), {})
    assert trees[found.good] == str(point - 1)
    assert trees[found.bad] == str(point)
    assert all(tree is None for tree in trees[found.good + 1 : found.bad])
    assert len(asked) <= ceil(log2(last + 1))


@given(st.data(), lines(gaps=True))
def test_the_boundary_contains_only_skipped_builds(data: st.DataObject, trees: Line) -> None:
    last = int(str(trees[-1]))
    point = data.draw(st.integers(1, last))
    skipped = data.draw(st.sets(st.integers(1, max(1, last - 1)).map(str))) - {str(last)}
    judge = turning(point)
    found, _ = over_builds(trees, lambda tree: "skip" if tree in skipped else judge(tree), {})
    assert int(str(trees[found.good])) < point <= int(str(trees[found.bad]))
    assert all(tree is None or tree in skipped for tree in trees[found.good + 1 : found.bad])


@given(st.data(), st.lists(st.none() | st.integers(2, 9).map(str), max_size=30))
def test_any_verdicts_end_between_a_good_and_a_bad_build(data: st.DataObject, middle: Line) -> None:
    trees = ["0", *middle, "1"]
    oracle = {tree: data.draw(VERDICTS) for tree in set(middle) if tree is not None}
    found, _ = over_builds(trees, oracle.__getitem__, {})
    oracle |= {"0": "good", "1": "bad"}
    assert oracle[str(trees[found.good])] == "good"
    assert oracle[str(trees[found.bad])] == "bad"
    assert all(tree is None or oracle[tree] == "skip" for tree in trees[found.good + 1 : found.bad])


@given(st.data(), lines(gaps=True))
def test_a_resumed_search_tries_the_same_builds(data: st.DataObject, trees: Line) -> None:
    oracle = {tree: data.draw(VERDICTS) for tree in trees if tree}
    found, asked = over_builds(trees, oracle.__getitem__, {})
    kept = data.draw(st.integers(0, len(asked)))
    known: dict[str, Verdict] = {tree: oracle[tree] for tree in asked[:kept]}
    assert over_builds(trees, oracle.__getitem__, known) == (found, asked[kept:])


@given(st.data(), lines(gaps=True))
def test_the_number_of_remaining_steps_is_an_upper_bound(data: st.DataObject, trees: Line) -> None:
    judge = turning(data.draw(st.integers(1, int(str(trees[-1])))))
    known: dict[str, Verdict] = {}
    promised = []
    while isinstance(found := next_build(trees, known), Try):
        promised.append(found.left)
        known[str(trees[found.index])] = judge(str(trees[found.index]))
    assert all(left >= len(promised) - at for at, left in enumerate(promised))


@pytest.mark.parametrize(
    ("trees", "verdicts", "found"),
    [
        ("ab", {}, Boundary(0, 1)),
        ("aab", {}, Boundary(1, 2)),
        ("abb", {}, Boundary(0, 1)),
        ("a.b", {}, Boundary(0, 2)),
        ("a.ab", {}, Boundary(2, 3)),
        ("ab.b", {}, Boundary(0, 1)),
        ("axb", {}, Try(1, 1)),
        ("axxb", {"x": "good"}, Boundary(2, 3)),
        ("axxb", {"x": "bad"}, Boundary(0, 1)),
        ("axxb", {"x": "skip"}, Boundary(0, 3)),
        ("axyzb", {}, Try(2, 2)),
        ("axyx.b", {"x": "bad", "y": "good"}, Boundary(0, 1)),
        ("ax.x.yb", {"x": "good"}, Try(5, 1)),
    ],
)
def test_lines(trees: str, verdicts: dict[str, Verdict], found: Boundary | Try) -> None:
    assert next_build([None if tree == "." else tree for tree in trees], verdicts) == found


def test_a_run_of_skipped_builds_is_left_quickly() -> None:
    trees: Line = [str(number) for number in range(101)]
    found, asked = over_builds(
        trees, lambda tree: "skip" if 30 <= int(tree) < 70 else turning(90)(tree), {}
    )
    assert (found, len(asked)) == (Boundary(89, 90), 8)


# over changes


def over_changes(
    count: int, say: Callable[[Chosen], Verdict], known: dict[Chosen, Verdict]
) -> tuple[Chosen, list[Chosen]]:
    """Drive the machine to its end; return the fewest changes and the tried sets."""
    asked: list[Chosen] = []
    while isinstance(found := next_combination(count, known), Combine):
        assert found.chosen not in known, "asked twice"
        assert 0 < len(found.chosen) < count, "asked for what is known"
        assert found.left > 0
        known[found.chosen] = say(found.chosen)
        asked.append(found.chosen)
    assert isinstance(found, Fewest)
    return found.chosen, asked


@st.composite
def guilty(draw: st.DrawFn, *, most: int = 24) -> tuple[int, list[Chosen]]:
    """The number of changes, and the sets of changes that are each enough to be bad."""
    count = draw(st.integers(1, most))
    culprits = st.frozensets(st.integers(0, count - 1), min_size=1, max_size=4)
    return count, draw(st.lists(culprits, min_size=1, max_size=3))


def any_of(culprits: list[Chosen]) -> Callable[[Chosen], Verdict]:
    return lambda chosen: "bad" if any(each <= chosen for each in culprits) else "good"


@given(guilty())
def test_the_fewest_changes_of_any_monotone_oracle_are_found(
    case: tuple[int, list[Chosen]],
) -> None:
    count, culprits = case
    found, _ = over_changes(count, any_of(culprits), {})
    assert found in culprits
    assert not any(each < found for each in culprits)


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 8])
def test_every_single_pair_and_triple_is_found(count: int, size: int) -> None:
    for culprit in combinations(range(count), size):
        assert over_changes(count, any_of([frozenset(culprit)]), {})[0] == frozenset(culprit)


def test_a_single_one_is_found_by_halving() -> None:
    for guilty_one in range(64):
        _, asked = over_changes(64, any_of([frozenset({guilty_one})]), {})
        assert len(asked) <= log2(64) + 1


def test_a_pair_is_found_by_halving_twice() -> None:
    for pair in combinations(range(32), 2):
        _, asked = over_changes(32, any_of([frozenset(pair)]), {})
        assert len(asked) <= 2 * (log2(32) + 1) + 1


@given(st.data(), st.integers(1, 10))
def test_with_any_verdicts_no_change_of_the_fewest_can_be_omitted(
    data: st.DataObject, count: int
) -> None:
    known: dict[Chosen, Verdict] = {}
    found, _ = over_changes(count, lambda _chosen: data.draw(VERDICTS), known)
    assert len(found) == count or known[found] == "bad"
    if len(found) > 1:
        assert all(known[found - {each}] != "bad" for each in found)


@given(st.data(), guilty())
def test_skipped_combinations_are_passed_over(
    data: st.DataObject, case: tuple[int, list[Chosen]]
) -> None:
    count, culprits = case
    judge = any_of(culprits)
    known: dict[Chosen, Verdict] = {}
    found, _ = over_changes(
        count, lambda chosen: "skip" if data.draw(st.booleans()) else judge(chosen), known
    )
    assert judge(found) == "bad" or len(found) == count
    assert all(known.get(found - {each}, "good") != "bad" for each in found)


@given(st.data(), guilty(most=10))
def test_a_resumed_search_tries_the_same_sets(
    data: st.DataObject, case: tuple[int, list[Chosen]]
) -> None:
    count, culprits = case
    found, asked = over_changes(count, any_of(culprits), {})
    kept = data.draw(st.integers(0, len(asked)))
    known = {chosen: any_of(culprits)(chosen) for chosen in asked[:kept]}
    assert over_changes(count, any_of(culprits), known) == (found, asked[kept:])


# several runs


@pytest.mark.parametrize(
    ("verdicts", "joint"),
    [
        (["good"], ("good", False)),
        (["good", "good"], ("good", False)),
        (["good", "bad"], ("bad", True)),
        (["bad"], ("bad", False)),
        (["good", "skip"], ("good", True)),
        (["skip", "bad"], ("bad", True)),
        (["skip", "skip"], ("skip", False)),
    ],
)
def test_bad_once_is_bad(verdicts: list[Verdict], joint: tuple[Verdict, bool]) -> None:
    assert joint_verdict(verdicts) == joint
