"""Results that differ between machines, data that is not shared, and objects that a machine
deleted.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cli.story import in_order
from tests.remote.conftest import Machines
from tests.remote.story import Cache, Machine, git

pytestmark = pytest.mark.process

RANDOM = "head -c 12 /dev/urandom > out/number; cp out/number out/again"
LOGGED, SHOWN = b"a secret that a log has", b"a secret that an environment has"


def holds(folder: Path, text: bytes) -> bool:
    """Return whether any object of a repository contains a text."""
    command = ["git", f"--git-dir={folder}", "cat-file", "--batch-all-objects", "--batch"]
    return text in subprocess.run(command, capture_output=True, check=True).stdout


# not reproducible


def test_two_machines_with_different_outputs(folder_cache: Cache, machines: Machines) -> None:
    """The first published output stays, the second is stored beside it, and every machine can see
    both.
    """
    one, other, third = (machines(name, folder_cache) for name in ("one", "other", "third"))
    for machine in (one, other, third):
        machine.one("dice", RANDOM)
    for machine in (one, other):
        machine.prov("remote", "remove", "team")
        machine.prov("build", "dice")
        machine.join("team", folder_cache)
    assert (
        one.ask("reproduce", "--recorded")
        == "no task is recorded with different outputs from identical inputs\n"
    )
    assert one.ask("push") == "team: 1 result published in 1 push; 0 already there\n"
    said = other.ask("push").splitlines()
    assert said[0] == "team: 1 result published in 1 push; 0 already there"
    assert said[1].strip().startswith("not reproducible: dice:go: a different output is published")
    assert folder_cache.keys() == ["dice:go", "dice:go"]
    first, second = (line.split(" ")[4] for line in folder_cache.published())
    assert "1 fetched" in third.ask("build", "dice")
    (ref,) = third.git("for-each-ref", "--format=%(refname)", "refs/prov/output/dice").split()
    assert third.git("rev-parse", f"{ref}^{{tree}}").strip() == first
    for machine in (one, other, third):
        (found,) = machine.json("reproduce", "--recorded", code=1)["tasks"]
        outputs = [row["output"] for row in found["outputs"]]
        assert (found["task"], outputs) == ("dice:go", [first, second])
        text = machine.ask("reproduce", "--recorded", code=1)
        in_order(text, f"{first[:12]}  published to team", f"{second[:12]}  published to team")
        assert "number" in text
        assert "again" in text
        machine.is_clean()
    assert "nothing to do" in third.ask("build", "dice")
    assert third.git("rev-parse", f"{ref}^{{tree}}").strip() == first
    assert (
        other.ask("push").splitlines()[0]
        == "team: 0 results published in 0 pushes; 1 already there"
    )
    folder_cache.is_clean()


# WORKDIRs and logs


def with_secrets(machine: Machine, folder: Path) -> None:
    """Add a task that prints one secret and sees another one that is not among its inputs."""
    (folder / "secret").write_bytes(LOGGED + b"\n")
    machine.one("fetcher", f"cat {folder}/secret; echo done > out/done")
    machine.append("recipes/fetcher.toml", "network = true\n")
    machine.environment["SHOWN"] = SHOWN.decode()


def test_logs_and_environments_are_not_published(
    folder_cache: Cache, machines: Machines, tmp_path: Path
) -> None:
    one, other = machines("one", folder_cache), machines("other", folder_cache)
    for machine in (one, other):
        with_secrets(machine, tmp_path)
    one.prov("build", "fetcher")
    store = one.root / ".prov"
    assert holds(store, LOGGED)
    one.prov("push")
    assert folder_cache.keys() == ["fetcher:go"]
    for text in (LOGGED, SHOWN, os.uname().nodename.encode()):
        assert not holds(folder_cache.path, text), text
    assert other.ask("pull", "fetcher").startswith("1 result fetched")
    (record,) = other.git(
        "for-each-ref", "--format=%(objectname)", "refs/prov/record/fetcher/go"
    ).split()
    parts = other.git("ls-tree", "--name-only", record).split()
    assert parts == ["definition", "inputs", "output", "record"]
    one.prov("push", "--with-workdirs")
    assert holds(folder_cache.path, LOGGED)
    assert not holds(folder_cache.path, SHOWN)


def test_workdirs_are_published_on_request(
    folder_cache: Cache, machines: Machines, tmp_path: Path
) -> None:
    """This also holds if the outputs were published without WORKDIRs before."""
    one, other = machines("one", folder_cache, built=True), machines("other", folder_cache)
    one.prov("push")
    assert (
        one.ask("push", "--with-workdirs")
        == "team: 5 results published in 1 push; 0 already there\n"
    )
    assert other.ask("pull", "app", "--with-workdirs").startswith("5 results fetched")
    assert "all" in other.ask("diff", "words:make").split()
    assert one.tag("words:make") == other.tag("words:make")
    assert other.tag("words:make") in other.ask("log", "words:make")
    assert other.json("show", "words:take")["log"] == one.json("show", "words:take")["log"] != ""
    assert "all" in other.ask("shell", "words:make", "--", "ls").split()
    other.prov("checkout", "words:make", str(tmp_path / "out"))
    assert (tmp_path / "out/all").exists()
    other.edit("recipes/words/words.toml", "mkdir image/usr", "mkdir image/usr; ls")
    assert other.build() == "1 ran, 1 restored, 3 skipped"
    other.is_clean()
    git(folder_cache.path, "fsck", "--strict")


# garbage collection


def test_garbage_collection_between_transfers(folder_cache: Cache, machines: Machines) -> None:
    """One side has deleted the base records: the transfer is larger but does not fail."""
    one, other = machines("one", folder_cache, built=True), machines("other", folder_cache)

    def collect(machine: Machine) -> None:
        machine.prov("gc", "--days", "0", "--builds", "1", "--workdirs", "1")

    one.prov("push")
    assert other.build() == "1 fetched"
    for number in range(3):
        for machine in (one, other):
            machine.change(f"change {number}")
        assert one.build() == "5 ran"
        if number != 1:
            collect(one)
        assert one.ask("push") == "team: 5 results published in 1 push; 0 already there\n"
        if number:
            collect(other)
        assert other.build() == "1 fetched"
        assert other.deployed() == one.wanted()
        for machine in (one, other):
            machine.is_clean()
    folder_cache.is_clean()


def test_an_incomplete_record_is_not_a_base(folder_cache: Cache, machines: Machines) -> None:
    one, other = machines("one", folder_cache, built=True), machines("other", folder_cache)
    one.prov("push")
    other.build()
    for ref in other.git("for-each-ref", "--format=%(refname)", "refs/prov/record").split():
        other.git("update-ref", "-d", ref)
    shutil.rmtree(other.root / ".prov/prov")
    one.change("new")
    other.change("new")
    one.build()
    one.prov("push")
    assert other.build() == "1 fetched"
    assert other.deployed() == one.wanted()
    other.is_clean()
