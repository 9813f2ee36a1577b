"""The printed results of repeated tasks."""

from __future__ import annotations

import pytest
import typer
from prov_cli.repetitions import SHOWN, print_repetitions

from prov.history.diff import Difference
from prov.history.names import RunName
from prov.records.ids import CommitId, TaskHash
from prov.records.keys import TaskKey
from prov.records.refs import RunRef
from prov.replay.reproduce import Rerun
from tests.schema.check import read_answer

RUN = RunName(RunRef(TaskKey("a:go"), TaskHash(bytes(20)), 1), CommitId(bytes(20)), seconds=0)
SAME = Rerun(TaskKey("a:go"), RUN, "", "")
FAILED = Rerun(TaskKey("b:go"), RUN, "exit status 1", "".join(f"{line}\n" for line in range(30)))
DIFFERENT = Rerun(
    TaskKey("c:go"),
    RUN,
    "",
    "",
    output=tuple(Difference(f"out/{number}", "added") for number in range(SHOWN + 2)),
    workdir=(Difference("work", "added"),),
)


def lines(capsys: pytest.CaptureFixture[str], *repetitions: Rerun) -> list[str]:
    """Return the printed lines of repetitions of which at least one differs."""
    with pytest.raises(typer.Exit) as exit:
        print_repetitions(repetitions, json=False)
    assert exit.value.exit_code == 1
    return capsys.readouterr().out.splitlines()


def test_identical_tasks_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_repetitions([SAME, SAME], json=False)
    assert capsys.readouterr().out == "2 tasks repeated: identical\n"


def test_a_failure_has_the_end_of_its_log(capsys: pytest.CaptureFixture[str]) -> None:
    printed = lines(capsys, SAME, FAILED)
    assert printed[0] == "b:go: exit status 1"
    assert printed[1:-1] == [f"    {line}" for line in range(30 - SHOWN, 30)]
    assert printed[-1] == "2 tasks repeated: different: b:go"


def test_only_the_first_differences_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    printed = lines(capsys, DIFFERENT)
    assert printed[0] == "c:go: output differs:"
    assert printed[SHOWN + 1] == "  and 2 more"
    assert printed[SHOWN + 2] == "c:go: WORKDIR differs:"
    assert printed[-1] == "1 task repeated: different: c:go"


def test_json_has_a_row_for_each_task(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit):
        print_repetitions([SAME, FAILED], json=True)
    answer = read_answer(capsys.readouterr().out)
    assert (answer["schema"], answer["kind"]) == (1, "reproduced")
    assert [(row["task"], row["same"]) for row in answer["tasks"]] == [
        ("a:go", True),
        ("b:go", False),
    ]
