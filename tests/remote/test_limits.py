"""Pushes that exceed a limit, and interrupted transfers."""

from __future__ import annotations

import os
import random
import threading
from pathlib import Path

import pytest

from prov.transport.access import Access
from prov.transport.errors import Unreachable
from prov.transport.git import Transport, make_scratch
from tests.remote.conftest import Machines, kinds, make_cache
from tests.remote.story import FILES, TASKS, Cache, Machine, noise, until

pytestmark = pytest.mark.process

RECIPES = ("r0", "r1", "r2", "r3")


def with_large_files(machine: Machine) -> None:
    """Build four tasks with outputs slightly larger than half a megabyte each."""
    for name in RECIPES:
        machine.one(name, "head -c 600000 /dev/urandom > out/file")
    machine.prov("build", *RECIPES)


def test_a_push_that_is_too_large_is_split(folder_cache: Cache, machines: Machines) -> None:
    one, other = machines("one"), machines("other", folder_cache)
    one.join("team", folder_cache, "--push-limit", "1")
    with_large_files(one)
    assert one.ask("push") == "team: 4 results published in 4 pushes; 0 already there\n"
    folder_cache.is_clean()
    for name in RECIPES:
        other.write(f"recipes/{name}.toml", (one.root / f"recipes/{name}.toml").read_text())
    assert "4 fetched" in other.ask("build", *RECIPES)
    other.is_clean()


def test_a_server_that_rejects_large_bodies(
    request: pytest.FixtureRequest, tmp_path: Path, machines: Machines
) -> None:
    """A rejected push is split in halves; a single result that is too large is reported."""
    cache = make_cache(request, tmp_path, "http", max_body="900k")
    one = machines("one", cache)
    with_large_files(one)
    assert one.ask("push") == "team: 4 results published in 4 pushes; 0 already there\n"
    cache.is_clean()
    one.one("huge", "head -c 1200000 /dev/urandom > out/file")
    one.prov("build", "huge", "r0")
    said = one.complaint("push")
    assert "remote team: " in said
    assert "413" in said
    assert set(cache.keys()) == {f"{name}:go" for name in RECIPES}


@pytest.mark.parametrize("kind", kinds("daemon", "ssh", "http", "http-v0"))
def test_a_line_that_is_cut_while_fetching(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, machines: Machines
) -> None:
    """Results that cannot be fetched are built, the store has no partial objects, and they are
    fetched later.
    """
    cache = make_cache(request, tmp_path, kind)
    assert cache.line is not None
    one, other = machines("one", cache, built=True), machines("other", cache)
    one.prov("push")
    cache.line.cut_after = 30_000  # enough for the index
    assert other.build() == "5 ran"
    assert other.said.count("remote team") == 1
    assert cache.line.cuts > 0
    assert other.deployed() == one.wanted()
    other.is_clean()
    cache.line.cut_after = None
    for file in range(FILES):
        one.change(f"new {file}", file)
        other.change(f"new {file}", file)
    one.build()
    one.prov("push")
    cache.line.cut_after = 30_000
    said = other.prov("pull", "app", code=1)
    assert "remote team: " in said.stderr
    assert "0 results fetched" in said.stdout
    other.is_clean()
    cache.line.cut_after = None
    assert other.build() == "1 fetched"
    assert other.deployed() == one.wanted()
    other.is_clean()


def test_a_server_that_stops_during_a_transfer(daemon_cache: Cache, machines: Machines) -> None:
    one, other = machines("one", daemon_cache, built=True), machines("other", daemon_cache)
    line, server = daemon_cache.line, daemon_cache.server
    assert line is not None
    assert server is not None
    for machine in (one, other):  # more than socket buffers hold
        (machine.root / "recipes/app/main").write_bytes(random.Random(5).randbytes(12_000_000))
    one.build()
    one.prov("push")
    line.chunk, line.delay, begun = 65_536, 0.02, line.down

    def stop() -> None:
        until(lambda: line.down > begun + 1_000_000, "the transfer is under way")
        server.stop()

    thread = threading.Thread(target=stop)
    thread.start()
    assert other.build() == "5 ran"
    thread.join()
    assert other.said.count("remote team") == 1
    assert (other.root / "build/deploy/main").stat().st_size == 12_000_000
    other.is_clean()


@pytest.mark.parametrize("interactive", [True, False])
def test_no_process_survives_a_timeout(interactive: bool, tmp_path: Path) -> None:
    """Not even ssh, which git does not kill when it is killed itself."""
    script = tmp_path / "ssh"
    script.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 100\n")
    script.chmod(0o755)
    environment = {**os.environ, "GIT_SSH_COMMAND": str(script), "GIT_SSH_VARIANT": "ssh"}
    transport = Transport(
        "team", "ssh://host/cache.git", Access(environment, interactive, patience=0.5)
    )
    with pytest.raises(Unreachable, match="no data for"):
        transport.refs(make_scratch(tmp_path / "git"), "*")
    pid = (tmp_path / "pid").read_text().strip()
    until(lambda: not Path(f"/proc/{pid}/cmdline").exists(), "ssh has ended")


def test_a_push_that_is_cut(daemon_cache: Cache, machines: Machines) -> None:
    one, other = machines("one", daemon_cache, built=True), machines("other", daemon_cache)
    assert daemon_cache.line is not None
    daemon_cache.line.cut_after_up = 30_000
    assert "remote team: " in one.complaint("push")
    assert "refs/heads/prov/index" not in daemon_cache.refs()
    assert other.ask("remote", "list", "--refresh").endswith("  0 results\n")
    daemon_cache.line.cut_after_up = None
    assert one.ask("push").startswith("team: 5 results published")
    assert sorted(daemon_cache.keys()) == sorted(TASKS)
    assert other.build() == "1 fetched"
    assert noise("words 7") in other.deployed().values()
