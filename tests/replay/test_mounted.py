"""Tests of directories mounted at their recorded paths."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from prov.errors import StoreError
from prov.replay.mounted import check_sandbox, mounts, recorded_path
from prov.tasks.sandbox import bubblewrap

MOUNTER = bubblewrap("auto")


@pytest.mark.parametrize("path", ["", "src", "/a/../b", "/a\0b"])
def test_a_path_that_could_lead_elsewhere_is_refused(path: str) -> None:
    with pytest.raises(StoreError, match="is not a normalized absolute path"):
        recorded_path({"workdir": path})


def test_the_recorded_path() -> None:
    assert recorded_path({"workdir": "/home/me/src"}) == "/home/me/src"


def test_a_command_needs_a_sandbox_or_permission() -> None:
    check_sandbox("app:compile", "/usr/bin/bwrap", on_host=False)
    check_sandbox("app:compile", None, on_host=True)
    with pytest.raises(StoreError, match="cannot run app:compile in a sandbox"):
        check_sandbox("app:compile", None, on_host=False)


def inside(folder: Path, at: Path, script: str, *through: str) -> str:
    """Run a script with a folder mounted at a path; return its output."""
    assert MOUNTER is not None
    command = [MOUNTER, *mounts(folder, str(at), through), "--chdir", str(at), "sh", "-c", script]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.process
@pytest.mark.parametrize("exists", [True, False])
def test_a_folder_is_mounted_and_the_rest_is_read_only(tmp_path: Path, exists: bool) -> None:
    folder, at = tmp_path / "copy", tmp_path / "above" / "place"
    folder.mkdir()
    (folder / "file").write_text("text\n")
    at.parent.mkdir()
    if exists:
        at.mkdir()
        (at / "present").write_text("")
    script = f"pwd; ls; echo >made; echo >{tmp_path}/outside 2>/dev/null || echo refused"
    assert inside(folder, at, script) == f"{at}\nfile\nrefused\n"
    assert (folder / "made").exists()
    assert not (tmp_path / "outside").exists()
    assert at.exists() == exists


@pytest.mark.process
def test_folders_on_disk_are_seen_through_the_mount(tmp_path: Path) -> None:
    folder, at = tmp_path / "copy", tmp_path / "place"
    for path in (folder / "sysroot", at / "sysroot"):
        path.mkdir(parents=True)
    (at / "sysroot/header").write_text("on disk\n")
    script = "cat sysroot/header; echo >sysroot/new 2>/dev/null || echo refused"
    assert inside(folder, at, script, "sysroot") == "on disk\nrefused\n"
