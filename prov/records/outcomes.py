"""The outcomes of a build's tasks: their stored values, and the words shown to users."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """The outcome of a task in a build, as stored in the list `happened`."""

    RAN = "ran"
    RESTORED = "restored"
    FETCHED = "fetched"
    CUT_OFF = "cut off"
    """Skipped, because the outputs of its dependencies are unchanged (early cutoff)."""
    STALE = "stale"
    FAILED = "failed"
    UP_TO_DATE = "up to date"
    NOT_BUILT = "not built"


WORDS: dict[str, str] = {Outcome.CUT_OFF: "skipped"}
"""Outcome -> the word shown to users, if it differs from the stored value."""


def outcome_text(value: str) -> str:
    """Return the word shown to users for an outcome; return other texts unchanged."""
    return WORDS.get(value, value)
