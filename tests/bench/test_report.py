"""Results are compared by the ratios of medians."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.measure import Command, Sample, Timing, in_turns, run_once
from tests.bench.report import as_table, last_file, lines, markdown, read, worse_rows, write
from tests.bench.rows import Result, Row


def result(wall: float, peer: float, *, name: str = "row", at_most: float = 0.0) -> Result:
    def timing(seconds: float) -> Timing:
        return Timing("x", [Sample(seconds * factor, seconds, 10.0) for factor in (1, 1, 90)])

    command = Command("x", ("true",))
    return Result(Row(name, command, (command,), at_most), timing(wall), [timing(peer)])


# ratio before, ratio now, whether it is reported
CHANGES = [(1.0, 1.0, False), (1.0, 1.19, False), (1.0, 1.21, True), (2.0, 1.0, False)]


@pytest.mark.parametrize(("before", "now", "is_worse"), CHANGES)
def test_a_ratio_that_is_worse_by_a_fifth_is_reported(
    before: float, now: float, is_worse: bool
) -> None:
    worse = worse_rows(as_table([result(now, 1.0)]), as_table([result(before, 1.0)]))
    assert bool(worse) is is_worse


def test_a_slower_machine_is_not_reported() -> None:
    assert not worse_rows(as_table([result(3.0, 3.0)]), as_table([result(1.0, 1.0)]))


def test_a_row_without_an_earlier_one_is_not_compared() -> None:
    assert not worse_rows(as_table([result(9.0, 1.0)]), as_table([result(1.0, 1.0, name="old")]))
    assert not worse_rows(as_table([result(9.0, 1.0)]), {})


def test_a_missed_limit_is_printed() -> None:
    assert "MISSED" in lines(result(2.0, 1.0, at_most=1.5))[0]
    assert "met" in lines(result(1.0, 1.0, at_most=1.5))[0]
    assert lines(result(1.0, 1.0))[0] == "row"


def test_results_are_read_as_written(tmp_path: Path) -> None:
    assert last_file(tmp_path) is None
    table = as_table([result(1.0, 2.0)])
    for name in ("20260102-000000.json", "20260101-000000.json"):
        write(tmp_path / name, table)
    last = last_file(tmp_path)
    assert last is not None and last.name.startswith("20260102")
    assert read(last)["rows"]["row"]["ratio"] == 0.5
    last.write_text('{"format": 0, "rows": {}}')
    assert read(last) == {}


def test_the_documentation_s_table_has_a_row_for_each_command() -> None:
    text = markdown(as_table([result(1.0, 2.0, at_most=0.8)]))
    assert text.splitlines()[2:] == ["| row | 1.00 s | 1.00 s | x 2.00 s (0.50 x) | 0.8 x |"]


def test_commands_run_in_turns_after_a_first_round(tmp_path: Path) -> None:
    order: list[str] = []

    def command(name: str) -> Command:
        return Command(name, ("true",), prepare=lambda: order.append(name))

    commands = [command("a"), command("b")]
    timings = in_turns(commands, 2)
    assert order == list("ababab")
    assert [len(timing.samples) for timing in timings] == [2, 2]


def test_a_command_that_fails_ends_the_benchmark() -> None:
    with pytest.raises(SystemExit, match=r"false exited with 1"):
        run_once(Command("false", ("false",)))
