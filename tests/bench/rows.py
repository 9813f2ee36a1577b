"""A row of the benchmark: a command of prov, its peers, and the wanted ratio or time."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.measure import Command, Timing, in_turns

PROV = Path(sys.executable).with_name("prov")
ROUNDS = 5
CALIBRATION = Command(
    "a loop of 3,000,000 in Python", (sys.executable, "-c", "sum(i * i for i in range(3_000_000))")
)
"""The peer of a row without one: its ratio compares two runs on machines of different speed."""


@dataclass(frozen=True)
class Row:
    """A command of prov to time in turns with its peers."""

    name: str
    ours: Command
    peers: tuple[Command, ...] = ()
    at_most: float = 0.0
    """The wanted limit of the ratio to the first peer; 0 if there is none."""
    seconds: float = 0.0
    """The wanted limit of the wall time; 0 if there is none."""
    rounds: int = ROUNDS


@dataclass
class Result:
    """The timings of a row."""

    row: Row
    ours: Timing
    peers: list[Timing] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """The median wall time divided by the first peer's."""
        return self.ours.wall / self.peers[0].wall

    @property
    def met(self) -> bool:
        """Whether the row has the wanted ratio and time."""
        row = self.row
        return not (0 < row.at_most < self.ratio or 0 < row.seconds < self.ours.wall)


Rows = Callable[[Path], Sequence[Row]]
"""Prepares the data of some rows below a folder, and returns the rows."""


def time_row(row: Row) -> Result:
    """Time a row's commands in turns."""
    ours, *peers = in_turns([row.ours, *(row.peers or (CALIBRATION,))], row.rounds)
    return Result(row, ours, peers)
