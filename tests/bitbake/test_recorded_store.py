"""prov reads a BitBake build that an earlier version recorded, and prints the same about it."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from tests.bitbake.recorded import Replayed
from tests.recorded_store import (
    FOLDER,
    GIT_FSCK,
    HINT,
    Answers,
    present_answers,
    recorded_answers,
)

RECORDED = recorded_answers("bitbake")


@pytest.fixture(scope="module")
def present(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    return present_answers("bitbake", tmp_path_factory.mktemp("recorded"))


@pytest.mark.parametrize("question", RECORDED, ids=list(RECORDED))
def test_answer_is_the_same(present: Answers, question: str) -> None:
    assert present[question] == RECORDED[question], HINT


def test_recorded_store_is_whole() -> None:
    assert RECORDED[f"prov fsck && {GIT_FSCK}"] == ["no errors\n"]


def test_next_build_finds_the_runs_of_current_tasks(tmp_path: Path) -> None:
    with tarfile.open(FOLDER / "bitbake.tar.xz") as archive:
        archive.extractall(tmp_path, filter="tar")
    directory = Replayed(tmp_path)
    try:
        directory.replay("changed")
    finally:
        directory.stop()
    facts = directory.json("builds")["builds"][0]["facts"]
    assert (facts["ran"], facts["up-to-date"]) == ("10", "9")
    difference = directory.json("diff", "latest~2", "latest")
    assert (difference["causes"], difference["recipes"]["removed"]) == ([], [])
