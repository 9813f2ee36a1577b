"""No data is lost if prov commands are killed, run out of space or lose unsynced data.

This is tested at writing calls of each command. A usual run tests a few points, which are constant
unless you set FAULTS_SEED=N. `pytest -m faults` tests all points, which takes hours; with
FAULTS_POINTS=N it tests N points of each command.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.faults.cases import BUILD, CAPTURE, CASES, COLLECT, FIRST_CAPTURE, UNLABEL
from tests.faults.replay import VARIANTS
from tests.faults.sharing import PUSH, SHARING, SHRINK
from tests.faults.shim import FULL, KILL, Machine
from tests.faults.sweep import SEED, Case, replay_of, sweep

pytestmark = pytest.mark.process

SAMPLE = 7

_cases = pytest.mark.parametrize("case", (*CASES, *SHARING), ids=lambda case: case.name)


def cuts_of(case: Case) -> tuple[str, ...]:
    """What a remote loses in a power cut depends on its git, which syncs no folders."""
    return () if case in (PUSH, SHRINK) else tuple(VARIANTS)


@_cases
def test_some_points(machine: Machine, room: Path, case: Case) -> None:
    sweep(machine, room / "case", case, points=SAMPLE, seed=SEED, cuts=cuts_of(case))


@pytest.mark.faults
@_cases
def test_all_points(machine: Machine, room: Path, case: Case) -> None:
    points = int(os.environ.get("FAULTS_POINTS") or 0) or None
    print(
        f"{sweep(machine, room / 'case', case, points=points, seed=SEED, cuts=cuts_of(case))}"
        " points"
    )


@pytest.mark.parametrize(
    "case", [FIRST_CAPTURE, CAPTURE, UNLABEL, COLLECT, BUILD], ids=lambda case: case.name
)
def test_the_replay_matches_what_commands_write(machine: Machine, room: Path, case: Case) -> None:
    """If the journal missed a call, cuts would lose too much or nothing."""
    there, replayed = replay_of(machine, room / "case", case)
    copied = {path for path in there if path.startswith("/.prov/prov/pool")}  # copied by the kernel
    assert {
        path: there.get(path)
        for path in replayed
        if path not in copied and "recipe-sysroot" not in path
    } == {
        path: content
        for path, content in replayed.items()
        if path not in copied and "recipe-sysroot" not in path
    }
    assert there.keys() - replayed.keys() == set()


def test_faults_come_at_the_chosen_call(machine: Machine, room: Path) -> None:
    folder = room / "alone"
    folder.mkdir()
    FIRST_CAPTURE.make_state(folder)
    full = machine.run(FIRST_CAPTURE.command, folder, fault=FULL, at=5)
    assert (full.code, bool(full.hit)) == (1, True)
    assert "No space left on device" in full.said
    assert "free space" in full.said
    killed = machine.run(FIRST_CAPTURE.command, folder, fault=KILL, at=5)
    assert (killed.code, killed.calls) == (-9, 5)
    assert machine.run(FIRST_CAPTURE.command, folder).code == 0
