"""Outcomes: their words stand in the lists of recorded builds."""

from __future__ import annotations

import json

import pytest

from prov.records.outcomes import Outcome

WORDS = {
    Outcome.RAN: "ran",
    Outcome.RESTORED: "restored",
    Outcome.FETCHED: "fetched",
    Outcome.CUT_OFF: "cut off",
    Outcome.STALE: "stale",
    Outcome.FAILED: "failed",
    Outcome.UP_TO_DATE: "up to date",
    Outcome.NOT_BUILT: "not built",
}


def test_every_outcome_has_its_word() -> None:
    assert set(WORDS) == set(Outcome)


@pytest.mark.parametrize(("outcome", "word"), WORDS.items())
def test_an_outcome_is_its_word(outcome: Outcome, word: str) -> None:
    assert outcome == word
    assert f"{outcome}" == word
    assert json.dumps(outcome) == f'"{word}"'
    assert Outcome(word) is outcome


def test_no_word_begins_another() -> None:
    # a failed task's line goes on with its task hash
    for word in WORDS.values():
        assert [other for other in WORDS.values() if other.startswith(word)] == [word]


@pytest.mark.parametrize("word", ["", "Ran", "FAILED", "failed 0123", "up-to-date"])
def test_other_words_are_none(word: str) -> None:
    with pytest.raises(ValueError, match="is not a valid"):
        Outcome(word)
