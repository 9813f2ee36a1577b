"""What became of a task in a build, in the words of the list `happened` and of reports."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """How a build left a task."""

    RAN = "ran"
    RESTORED = "restored"
    FETCHED = "fetched"
    CUT_OFF = "cut off"
    """It did not run, since the outputs that it takes are unchanged (early cutoff)."""
    STALE = "stale"
    FAILED = "failed"
    UP_TO_DATE = "up to date"
    NOT_BUILT = "not built"
