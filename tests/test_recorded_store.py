"""prov reads a store that an earlier prov recorded, and gives the same answers about it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "fixtures" / "recorded-store"
RECORD = FOLDER / "record"
PROMPT = "$ "
HINT = f"if only the wording changed: {sys.executable} {RECORD} --answers"

Answers = dict[str, list[str]]
"""Question -> its answers, in order: some questions are asked again after a build."""


def read(transcript: Path) -> Answers:
    answers: Answers = {}
    for block in ("\n" + transcript.read_text()).split(f"\n{PROMPT}")[1:]:
        question, _, answer = block.partition("\n")
        answers.setdefault(question, []).append(answer)
    return answers


RECORDED = read(FOLDER / "answers.txt")


@pytest.fixture(scope="module")
def present(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    """Return the answers of the prov that is tested."""
    transcript = tmp_path_factory.mktemp("recorded") / "answers.txt"
    command = [sys.executable, str(RECORD), "--answers", "--to", str(transcript)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return read(transcript)


@pytest.mark.parametrize("question", RECORDED, ids=list(RECORDED))
def test_answer_is_the_same(present: Answers, question: str) -> None:
    assert present[question] == RECORDED[question], HINT


def test_recorded_plan_has_nothing_to_do() -> None:
    (plan,) = RECORDED["prov plan world --json"]
    assert '"total": 0' in plan


def test_recorded_store_is_whole() -> None:
    assert RECORDED["prov fsck"] == ["the store is whole\n"]
    assert RECORDED["git --git-dir=.prov fsck --strict --full --no-dangling"] == [""]
