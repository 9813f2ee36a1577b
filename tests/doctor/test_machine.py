"""Checks of the machine find problems and suggest what to do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from prov.doctor import machine
from prov.doctor.machine import State


@pytest.mark.parametrize(
    ("environment", "state", "text"),
    [
        ({"LANG": "C.UTF-8"}, State.OK, "C.UTF-8"),
        ({"LANG": "C"}, State.WARNING, "C: encoding "),
        ({}, State.WARNING, "C: encoding "),
        ({"LANG": "C.UTF-8", "LC_ALL": "xx_YY"}, State.WARNING, "xx_YY does not exist"),
        ({"LANG": "xx_YY", "LC_ALL": "C.UTF-8"}, State.OK, "C.UTF-8"),
    ],
)
def test_the_locale_exists_and_is_utf_8(
    environment: dict[str, str], state: State, text: str
) -> None:
    finding = machine.check_locale(environment)
    assert (finding.state, text in finding.text, bool(finding.advice)) == (
        state,
        True,
        state != State.OK,
    )


@pytest.mark.parametrize(
    ("last", "now", "state"),
    [(100.0, 200.0, State.OK), (100.0, 99.0, State.OK), (100.0, 40.0, State.WARNING)],
)
def test_the_clock_is_not_behind_the_last_build(last: float, now: float, state: State) -> None:
    assert machine.check_time(last, now).state == state


def test_a_folder_of_this_machine_has_links_space_and_the_time(tmp_path: Path) -> None:
    texts = [finding.text for finding in machine.check_file_system(tmp_path, "disk")]
    assert texts[0] == "has hardlinks"
    assert texts[2] == "has this machine's time"
    assert texts[3].endswith(" free")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    [finding] = machine.check_file_system(tmp_path / "none", "disk")
    assert (finding.state, finding.text) == (
        State.ERROR,
        f"{tmp_path}/none: No such file or directory",
    )


def test_little_space_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "LEAST_SPACE", 1 << 60)
    monkeypatch.setattr(machine, "LEAST_INODES", 1 << 60)
    *_, space, inodes = machine.check_file_system(tmp_path, "disk")
    assert (space.state, inodes.state) == (State.WARNING, State.WARNING)
    assert "prov gc" in space.advice


@pytest.mark.skipif(not os.path.ismount("/dev/shm"), reason="/dev/shm is not a file system here")
def test_a_build_directory_on_another_file_system_is_a_warning(tmp_path: Path) -> None:
    assert machine.check_devices(tmp_path, tmp_path / "build/work").state == State.OK
    finding = machine.check_devices(tmp_path, Path("/dev/shm/prov-test/work"))
    assert (finding.state, "builddir" in finding.advice) == (State.WARNING, True)


def test_limits_of_the_kernel_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_SYSCTL", tmp_path)
    assert machine.check_inotify().text == "not available"
    (tmp_path / "fs/inotify").mkdir(parents=True)
    setting = tmp_path / "fs/inotify/max_user_watches"
    setting.write_text("8192\n")
    finding = machine.check_inotify()
    assert (finding.state, finding.text) == (State.WARNING, "8,192 watches for each user")
    assert finding.advice == "run `sysctl fs.inotify.max_user_watches=65536` as root"
    setting.write_text("65536\n")
    assert machine.check_inotify().state == State.OK
