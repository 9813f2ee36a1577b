"""Run commands on a store that an earlier prov recorded; see fixtures/recorded-store/record."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "fixtures" / "recorded-store"
RECORD = FOLDER / "record"
PROMPT = "$ "
HINT = f"if only the wording changed: {sys.executable} {RECORD} --answers"
GIT_FSCK = "git --git-dir=.prov fsck --strict --full --no-dangling"

Answers = dict[str, list[str]]
"""The outputs of each command, in order: some commands run again after a build."""


def recorded_answers(name: str, folder: Path = FOLDER) -> Answers:
    text = (folder / f"{name}.txt").read_text().removesuffix("\n")
    answers: Answers = {}
    for block in f"\n{text}".split(f"\n{PROMPT}")[1:]:
        question, _, answer = block.partition("\n")
        answers.setdefault(question, []).append(answer)
    return answers


def present_answers(name: str, folder: Path) -> Answers:
    """Run all commands of the tested prov on a recorded store; `folder` is a scratch folder."""
    command = [sys.executable, str(RECORD), "--answers", "--to", str(folder), name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return recorded_answers(name, folder)
