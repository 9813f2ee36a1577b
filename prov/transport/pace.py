"""When a transfer is too slow to be waited for, or leaves too little room on the disk."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from prov.transport.errors import Unreachable

LEAST = 1000
"""Bytes a second; a transfer that is slower for long is given up."""
RESERVE = 256 << 20
"""Bytes that a transfer leaves free on the disk."""
UNCHECKED = 16 << 20
"""Bytes that come in without a look at the disk, so that a small transfer works on a small disk."""


@dataclass(slots=True)
class Pace:
    """Watches what comes: `least` bytes in each `window` seconds, and all of it in `longest`
    seconds.
    """

    window: float
    least: int
    longest: float | None = None
    total: int = 0
    _begun: float = field(default_factory=time.monotonic)
    _since: float = field(default_factory=time.monotonic)
    _counted: int = 0

    def add(self, count: int) -> None:
        """Count bytes that came."""
        self.total += count
        self._counted += count
        if self._counted >= self.least:
            self._counted, self._since = 0, time.monotonic()

    def left(self) -> float:
        """Return the seconds after which the transfer is given up if no byte comes; none or fewer:
        now.
        """
        end = self._since + self.window
        if self.longest is not None:
            end = min(end, self._begun + self.longest)
        return end - time.monotonic()


def check_room(remote: str, folder: Path, received: int) -> None:
    """Raise Unreachable if what was received, in bytes, leaves less than RESERVE on the disk of a
    folder.
    """
    if received < UNCHECKED:
        return
    state = os.statvfs(folder)
    if state.f_bavail * state.f_frsize < RESERVE:
        raise Unreachable(
            remote,
            f"{received >> 20} MB came, and {folder} has less than {RESERVE >> 20} MB of room left",
            hint="make room on the disk of the store",
        )
