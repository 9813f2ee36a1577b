"""Facts that a task's process collects, with and without pseudo; BitBake and pseudo do not run."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from prov.bitbake.capture import read_faked
from tests.bitbake.recorded import facts, wire

BUILDER = (1000, 1000)


class Data:
    """The part of BitBake's datastore that `facts` reads."""

    def __init__(self, values: dict[str, Any], flags: dict[str, dict[str, str]]) -> None:
        self.values, self.flags = values, flags

    def getVar(self, name: str, expand: bool = True) -> Any:  # noqa: N802
        return self.values.get(name)

    def getVarFlag(self, name: str, flag: str, expand: bool = True) -> str | None:  # noqa: N802
        return self.flags.get(name, {}).get(flag)


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A WORKDIR in which pseudo tracks `image` and its content."""
    for variable in ("PSEUDO_IGNORE_PATHS", "PSEUDO_INCLUDE_PATHS"):
        monkeypatch.delenv(variable, raising=False)
    for folder in ("image/dev", "image/home/mine", "deploy-debs", "sources"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("image/motd", "image/home/mine/text", "deploy-debs/a.deb", "sources/main.c"):
        (tmp_path / file).write_text(file)
    owners = {
        os.lstat(tmp_path / path).st_ino: (0, 0)
        for path in ("image", "image/dev", "image/home", "image/motd")
    }
    monkeypatch.setattr(facts, "_builder", lambda: BUILDER)
    monkeypatch.setattr(facts, "_owner", lambda state: owners.get(state.st_ino, BUILDER))
    return tmp_path


def paths(found: list[Any]) -> set[str]:
    return {entry[0] for entry in found[1]}


def test_owner_of_the_builder_counts_only_below_tracked_directories(workdir: Path) -> None:
    found = facts.faked(str(workdir), ["deploy-debs", "image", "sources"])
    assert paths(found) == {
        *("image", "image/dev", "image/home", "image/motd"),
        *("image/home/mine", "image/home/mine/text"),
    }
    assert set(read_faked({b"gone": ()}, json.dumps(found).encode())) > {b"gone", b"image/motd"}  # type: ignore[dict-item]


def test_walk_of_the_whole_directory_replaces_all_remembered_owners(workdir: Path) -> None:
    found = facts.faked(str(workdir), ["."])
    assert b"gone" not in read_faked({b"gone": ()}, json.dumps(found).encode())  # type: ignore[dict-item]
    assert "image/motd" in paths(found)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PSEUDO_IGNORE_PATHS", "/usr/,{}/image/home"),
        ("PSEUDO_INCLUDE_PATHS", "/proc,{0}/image/dev,{0}/image/motd"),
    ],
)
def test_path_that_pseudo_ignores_is_not_read(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value.format(workdir))
    tops = ["image/dev", "image/home", "image/motd"]
    plain, seen = os.lstat, []

    def lstat(path: str) -> os.stat_result:
        seen.append(os.path.relpath(path, workdir))
        return plain(path)

    monkeypatch.setattr(os, "lstat", lstat)
    assert paths(facts.faked(str(workdir), tops)) == {"image/dev", "image/motd"}
    assert not any(path.startswith("image/home") for path in seen)


def test_folder_with_only_its_content_included_is_walked(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PSEUDO_INCLUDE_PATHS", f"{workdir}/image/")
    assert facts.tracked(f"{workdir}/image/motd")
    assert not facts.tracked(f"{workdir}/image")
    assert "image/motd" in paths(facts.faked(str(workdir), ["image"]))


def test_files_deleted_during_the_walk_are_left_out(workdir: Path) -> None:
    """do_package_write_deb creates and deletes files next to each package while do_package_qa
    ends.
    """
    going = threading.Event()

    def come_and_go() -> None:
        while not going.is_set():
            for number in range(10):
                (workdir / f"image/dev/{number}/DEBIAN").mkdir(parents=True, exist_ok=True)
                (workdir / f"image/dev/{number}/DEBIAN/control").write_text("control")
                (workdir / f"image/dev/{number}.lock").write_text("")
            for number in range(10):
                shutil.rmtree(workdir / f"image/dev/{number}")
                (workdir / f"image/dev/{number}.lock").unlink()

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        for _ in range(300):
            assert "image/motd" in paths(facts.faked(str(workdir), ["image"]))
    finally:
        going.set()
        thread.join()


def test_missing_directory_has_no_entries(workdir: Path) -> None:
    assert facts.faked(str(workdir), ["rootfs"]) == [["rootfs"], []]


def test_only_directories_of_fakeroot_tasks_are_read(workdir: Path) -> None:
    """pseudo aborts a process that reads a tracked file through a hardlink made outside pseudo."""
    flags = {
        "do_install": {
            "fakeroot": "1",
            "cleandirs": f"{workdir}/image",
            "dirs": f"{workdir}/build",
        },
        "do_compile": {"dirs": f"{workdir}/build"},
        "do_package": {"fakeroot": "1", "sstate-plaindirs": f"{workdir}/package {workdir}/pkgdata"},
        "do_packagedata": {"cleandirs": f"{workdir}/pkgdata-pdata-input"},
        "do_rootfs": {
            "fakeroot": "1",
            "cleandirs": f"{workdir}/rootfs {workdir}/rootfs/lib /elsewhere {workdir}",
        },
    }
    values = {"WORKDIR": str(workdir), "D": f"{workdir}/image", "__BBTASKS": list(flags)}
    assert facts.faked_tops(Data(values, flags)) == ["image", "package", "pkgdata", "rootfs"]


@pytest.mark.parametrize(
    ("value", "mode"),
    [("0", ""), (None, ""), ("1", "store"), ("yes", "store"), ("Both", "both"), ("maybe", "")],
)
def test_mode_of_the_cache(value: str | None, mode: str) -> None:
    assert facts.cache_mode(Data({"PROV_CACHE": value}, {})) == mode


def test_exit_status_is_read_although_sigchld_was_ignored(tmp_path: Path) -> None:
    text = """
import signal, subprocess, sys
sys.path.insert(0, sys.argv[1])
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
from provlayer import facts
before = facts.heed_children()
assert before == signal.SIG_IGN
assert subprocess.run(["false"]).returncode == 1
"""
    folder = str(Path(facts.__file__).parents[1])
    subprocess.run([sys.executable, "-c", text, folder], check=True)


def test_second_answer_is_ignored(tmp_path: Path) -> None:
    """The writer lets a task continue early, and answers again when the record is complete."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(tmp_path / "socket"))
        listening.listen()

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(b'  {"first": 1}\n{"second": 2}\n')

        thread = threading.Thread(target=answer)
        thread.start()
        assert wire.ask(str(tmp_path / "socket"), {"what": "end"}) == {"first": 1}
        thread.join()
