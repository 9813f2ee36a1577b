"""prov reads a BitBake build that an earlier prov recorded, and gives the same answers about it."""

from __future__ import annotations

import pytest

from tests.recorded_store import GIT_FSCK, HINT, Answers, present_answers, recorded_answers

RECORDED = recorded_answers("bitbake")


@pytest.fixture(scope="module")
def present(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    return present_answers("bitbake", tmp_path_factory.mktemp("recorded"))


@pytest.mark.parametrize("question", RECORDED, ids=list(RECORDED))
def test_answer_is_the_same(present: Answers, question: str) -> None:
    assert present[question] == RECORDED[question], HINT


def test_recorded_store_is_whole() -> None:
    assert RECORDED[f"prov fsck && {GIT_FSCK}"] == ["the store is whole\n"]
