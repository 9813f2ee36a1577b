"""Gaps in the numbers of runs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prov.fsck.numbers import MOST, find_holes, missing_numbers, moves_down
from prov.records.ids import TaskHash
from prov.records.keys import TaskKey
from prov.records.refs import OutsideRef, RunRef

KEY, HASH = TaskKey("zlib:compile"), TaskHash(bytes(20))


def run(number: int, *, failed: bool = False) -> RunRef:
    return RunRef(KEY, HASH, number, failed)


def outside(number: int) -> OutsideRef:
    return OutsideRef("x86_64", "zlib", "build", number)


@pytest.mark.parametrize(
    ("refs", "holes"),
    [
        ([], []),
        ([run(1), run(2)], []),
        ([run(1).record, run(2)], []),
        ([run(2)], [(run(1), run(2))]),
        ([run(1), run(4).record], [(run(2), run(4)), (run(3), run(4))]),
        ([run(1), run(2, failed=True)], [(run(1, failed=True), run(2, failed=True))]),
        ([outside(2), run(1)], [(outside(1), outside(2))]),
        (["refs/tags/v1", "refs/heads/builds"], []),
    ],
)
def test_gaps(refs: list[object], holes: list[tuple[object, object]]) -> None:
    assert [(hole.ref, hole.after) for hole in find_holes(map(str, refs))] == holes


@pytest.mark.parametrize(
    ("ref", "moves"), [(run(2), False), (run(2, failed=True), True), (outside(2), True)]
)
def test_numbers_that_builds_name_do_not_move(ref: RunRef | OutsideRef, moves: bool) -> None:
    (hole,) = find_holes([str(ref)])
    assert hole.moves is moves
    (problem,) = missing_numbers({str(ref): bytes(20)})
    assert problem.kind == "run number"
    assert problem.needed_by == (str(ref),)
    assert ("renumber" in problem.repair) is moves


def test_a_huge_number() -> None:
    assert len(list(find_holes([str(run(10**17))]))) == MOST


@given(st.sets(st.integers(1, 30), min_size=1))
def test_moving_down_closes_all_gaps(numbers: set[int]) -> None:
    names = {str(run(number, failed=True)) for number in numbers}
    for old, new in moves_down(run(1, failed=True), names):
        names.remove(str(old))
        assert str(new) not in names
        names.add(str(new))
    assert names == {str(run(number, failed=True)) for number in range(1, len(numbers) + 1)}
    assert not list(find_holes(names))
