"""Remove the locks of a killed push in a folder."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from prov.transport.locks import clear_stale_locks

pytestmark = pytest.mark.process


def leave(folder: Path, name: str, *, age: float = 3600.0) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_a_young_lock_is_kept(tmp_path: Path) -> None:
    """Its process may run on another machine."""
    folder = tmp_path / "cache.git"
    subprocess.run(["git", "init", "-q", "--bare", folder], check=True)
    lock = leave(folder, "packed-refs.lock", age=0)
    assert clear_stale_locks(folder) == 0
    assert lock.exists()


def test_a_lock_of_a_running_process_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "cache.git"
    subprocess.run(["git", "init", "-q", "--bare", folder], check=True)
    lock = leave(folder, "refs/heads/main.lock")
    reader = subprocess.Popen(
        ["git", "receive-pack", folder], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    assert reader.stdin is not None
    try:
        assert clear_stale_locks(folder) == 0
        assert lock.exists()
    finally:
        reader.stdin.close()
        reader.wait()
    with lock.open("a"):  # any process that has the lock open
        child = subprocess.Popen(["sleep", "60"], stdin=lock.open())
    try:
        assert clear_stale_locks(folder) == 0
    finally:
        child.kill()
        child.wait()
    assert clear_stale_locks(folder) == 1
    assert not lock.exists()
