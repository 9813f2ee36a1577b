"""Tests of the files of steps that have started."""

from __future__ import annotations

import os
import subprocess

import pytest

from prov.buildroot.pending import (
    Pending,
    pending_path,
    pending_steps,
    process_began,
    save_pending,
    saved_pending,
)
from prov.store.repository import Store


def pending(name: str, began: float = 1.0) -> Pending:
    """Return a step of a process that has ended."""
    words = ("--make=1-2", f"--directory=/o/build/{name}", "start", "build", name)
    return Pending(words, {}, began, "ab" * 20, {"native": ("cd" * 20, "")}, 1)


def test_a_saved_step_is_the_same(store: Store) -> None:
    step = pending("zlib")
    save_pending(store, step)
    assert saved_pending(store, step.call) == step


def test_steps_are_listed_from_the_oldest(store: Store) -> None:
    assert list(pending_steps(store)) == []
    for name, began in (("b", 2.0), ("a", 3.0), ("c", 1.0)):
        save_pending(store, pending(name, began))
    assert [step.call.key for step in pending_steps(store)] == ["c:build", "b:build", "a:build"]


@pytest.mark.parametrize("content", [b"", b"\x80", b"{}", b"\x92\x01\x02"])
def test_a_damaged_file_is_no_step(store: Store, content: bytes) -> None:
    step = pending("zlib")
    save_pending(store, step)
    pending_path(store, step.call).write_bytes(content)
    assert saved_pending(store, step.call) is None
    assert list(pending_steps(store)) == []


def test_a_file_with_an_invalid_call_is_no_step(store: Store) -> None:
    step = pending("zlib")
    save_pending(store, step)
    path = pending_path(store, step.call)
    path.write_bytes(path.read_bytes().replace(b"--make=1-2", b"--make=1/2"))
    assert saved_pending(store, step.call) is None


@pytest.mark.process
def test_a_process_is_identified_by_its_start() -> None:
    with subprocess.Popen(["sleep", "600"]) as process:
        began = process_began(process.pid)
        assert began >= process_began(os.getpid()) > 0
        process.kill()
    assert process_began(process.pid) == 0


def test_a_step_of_an_unknown_process_is_running() -> None:
    words = ("--make=", "--directory=/o/build/x", "start", "build", "x")
    assert Pending(words, {"PROV_BUILD": "x"}, 1.0).is_running()
    assert not pending("zlib").is_running()
