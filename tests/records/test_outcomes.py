"""Tests of outcomes, whose texts are stored in builds."""

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


def test_the_texts_of_all_outcomes() -> None:
    assert set(WORDS) == set(Outcome)


@pytest.mark.parametrize(("outcome", "word"), WORDS.items())
def test_an_outcome_is_its_text(outcome: Outcome, word: str) -> None:
    assert outcome == word
    assert f"{outcome}" == word
    assert json.dumps(outcome) == f'"{word}"'
    assert Outcome(word) is outcome


def test_no_text_is_a_prefix_of_another() -> None:
    # a failed task's line continues with its task hash
    for word in WORDS.values():
        assert [other for other in WORDS.values() if other.startswith(word)] == [word]


@pytest.mark.parametrize("word", ["", "Ran", "FAILED", "failed 0123", "up-to-date"])
def test_other_texts_are_invalid(word: str) -> None:
    with pytest.raises(ValueError, match="is not a valid"):
        Outcome(word)
