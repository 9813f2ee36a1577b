"""Detect transfers that are too slow or leave too little free disk space."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from prov.transport.errors import Unreachable

LEAST = 1000
"""Minimum speed, in bytes per second; prov cancels a transfer that stays slower."""
RESERVE = 256 << 20
"""Bytes of free disk space that a transfer must leave."""
UNCHECKED = 16 << 20
"""Bytes received before free space is checked, so that small transfers work on small disks."""


@dataclass(slots=True)
class Pace:
    """Requires `least` bytes in every `window` seconds, and all bytes within `longest` seconds."""

    window: float
    least: int
    longest: float | None = None
    total: int = 0
    _begun: float = field(default_factory=time.monotonic)
    _since: float = field(default_factory=time.monotonic)
    _counted: int = 0

    def add(self, count: int) -> None:
        """Count received bytes."""
        self.total += count
        self._counted += count
        if self._counted >= self.least:
            self._counted, self._since = 0, time.monotonic()

    def left(self) -> float:
        """Return the seconds until the transfer times out without another byte; 0 or less: now."""
        end = self._since + self.window
        if self.longest is not None:
            end = min(end, self._begun + self.longest)
        return end - time.monotonic()


def check_room(remote: str, folder: Path, received: int) -> None:
    """Raise Unreachable if less than RESERVE is free on the disk of a folder.

    `received` is the number of bytes received so far.
    """
    if received < UNCHECKED:
        return
    state = os.statvfs(folder)
    if state.f_bavail * state.f_frsize < RESERVE:
        raise Unreachable(
            remote,
            f"no space after {received >> 20} MiB: {folder} has less than {RESERVE >> 20} MiB free",
            hint="free space on the disk of the store",
        )
