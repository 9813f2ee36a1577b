"""The outcomes of a build's tasks: their recorded values, and the words that users read."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """The outcome of a task in a build, as the record `happened` has it."""

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
"""Outcome -> the word that users read, where it differs from the recorded value."""


def outcome_text(value: str) -> str:
    """Return an outcome in the word that users read; another text unchanged."""
    return WORDS.get(value, value)
