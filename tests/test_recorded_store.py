"""Commands on a store that an earlier prov recorded print the recorded output."""

from __future__ import annotations

import pytest

from tests.recorded_store import GIT_FSCK, HINT, Answers, present_answers, recorded_answers

RECORDED = recorded_answers("project")


@pytest.fixture(scope="module")
def present(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    return present_answers("project", tmp_path_factory.mktemp("recorded"))


@pytest.mark.parametrize("question", RECORDED, ids=list(RECORDED))
def test_answer_is_the_same(present: Answers, question: str) -> None:
    assert present[question] == RECORDED[question], HINT


def test_recorded_plan_has_nothing_to_do() -> None:
    (plan,) = RECORDED["prov plan world --json"]
    assert '"total": 0' in plan


def test_the_recorded_store_is_sound() -> None:
    assert RECORDED["prov fsck"] == ["no errors\n"]
    assert RECORDED[GIT_FSCK] == [""]
