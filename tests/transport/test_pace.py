"""Detect transfers that are too slow or leave too little free disk space."""

from __future__ import annotations

from pathlib import Path

import pytest

from prov.transport import pace as paces
from prov.transport.errors import Unreachable
from prov.transport.pace import RESERVE, UNCHECKED, Pace, check_room


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("time.monotonic", clock)
    return clock


def make_pace(clock: Clock, longest: float | None = None) -> Pace:
    return Pace(10.0, 1000, longest, _begun=clock(), _since=clock())


@pytest.mark.parametrize(
    ("steps", "left"),
    [
        ([], 10.0),
        ([(4.0, 0)], 6.0),
        ([(4.0, 999)], 6.0),
        ([(4.0, 1000)], 10.0),
        ([(4.0, 600), (4.0, 600)], 10.0),
        ([(4.0, 600), (4.0, 600), (3.0, 999)], 7.0),
        ([(11.0, 0)], -1.0),
    ],
)
def test_each_window_needs_its_bytes(
    steps: list[tuple[float, int]], left: float, clock: Clock
) -> None:
    pace = make_pace(clock)
    for seconds, count in steps:
        clock.now += seconds
        pace.add(count)
    assert pace.left() == left
    assert pace.total == sum(count for _seconds, count in steps)


def test_the_whole_transfer_has_a_limit(clock: Clock) -> None:
    pace = make_pace(clock, longest=25.0)
    for _ in range(3):
        clock.now += 6.0
        pace.add(5000)
    assert pace.left() == 7.0
    clock.now += 8.0
    pace.add(5000)
    assert pace.left() == -1.0


def test_free_disk_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_room("m", tmp_path, UNCHECKED)
    monkeypatch.setattr(paces, "RESERVE", 1 << 62)
    check_room("m", tmp_path, UNCHECKED - 1)
    with pytest.raises(Unreachable, match="no space after 16 MiB"):
        check_room("m", tmp_path, UNCHECKED)
    assert RESERVE < 1 << 62
