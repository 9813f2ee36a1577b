"""Remotes that shrink, deleted content, and remotes that restore a damaged store."""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from prov.remote.opening import open_git_remote
from prov.remote.publication import Published
from prov.remote.settings import find_remote
from prov.remote.shrink import RemoteRules, expired, shrink
from prov.store.packs import PackFile
from prov.store.repository import Store
from prov.transport.access import Access
from tests.commands import PROV
from tests.remote.conftest import Machines, kinds, make_cache
from tests.remote.story import TASKS, Cache, Machine, until

pytestmark = pytest.mark.process

SECRET = "hunter2-is-the-password"


def grown(machines: Machines, cache: Cache) -> Machine:
    """Return a machine that has published three states of the project."""
    one = machines("one", cache, "--push", built=True)
    one.prov("push")
    for text in ("second", "third"):
        one.change(text)
        one.build("--offline")
        one.prov("push")
    return one


@pytest.mark.parametrize("kind", kinds("folder", "daemon", "ssh", "http"))
def test_old_results_are_deleted_and_the_last_ones_kept(
    kind: str, request: pytest.FixtureRequest, machines: Machines, tmp_path: Path
) -> None:
    cache = make_cache(request, tmp_path, kind)
    one = grown(machines, cache)
    assert len(cache.keys()) == 15
    dry_run = one.ask("remote", "gc", "team", "--days", "0", "--builds", "0", "-n")
    assert dry_run.startswith("10 results would be deleted")
    assert len(cache.keys()) == 15
    said = one.ask("remote", "gc", "team", "--days", "0", "--builds", "0")
    assert said.startswith("10 results deleted")
    assert dry_run.split("; ")[1] == said.split("; ")[1] == "5 kept\n"
    assert cache.git("rev-list", "--count", "prov/index").strip() == "1"
    cache.is_clean()
    held = cache.git("rev-list", "prov/content").split()
    records = {line.split(" ")[5] for line in cache.published()}
    assert sum(cache.git("show", "-s", "--format=%T", oid).strip() in records for oid in held) == 5
    # all machines continue to work: one with the old index, and a new one
    other = machines("other", cache)
    other.change("third")
    assert "fetched" in other.build()
    assert other.deployed() == other.wanted()
    assert one.ask("push") == "team: 0 results published in 0 pushes; 5 already there\n"
    assert one.ask("push", "--all").startswith("team: 10 results published")
    cache.is_clean()


def test_a_server_with_the_old_protocol_is_reported(
    request: pytest.FixtureRequest, machines: Machines, tmp_path: Path
) -> None:
    cache = make_cache(request, tmp_path, "http-v0")
    one = grown(machines, cache)
    before = cache.published()
    done = one.prov("remote", "gc", "team", "--days", "0", "--builds", "0", code=1)
    assert "protocol version 2" in done.stderr
    assert cache.published() == before
    other = machines("other", cache)
    other.change("third")
    assert "fetched" in other.build()


def test_by_size_the_least_recently_used_are_deleted(
    folder_cache: Cache, machines: Machines
) -> None:
    one = grown(machines, folder_cache)
    sizes = [int(line.split("size=")[1].split(" ")[0]) for line in folder_cache.published()]
    limit = sum(sizes) - 1
    said = one.ask("remote", "gc", "team", "--size", f"{limit}")
    assert said.startswith("1 result deleted")
    folder_cache.is_clean()


def test_a_result_published_again_is_kept(folder_cache: Cache, machines: Machines) -> None:
    one = grown(machines, folder_cache)
    sizes = [int(line.split("size=")[1].split(" ")[0]) for line in folder_cache.published()]
    for number in range(2):
        # the rest of the publication stays, so the index lists the deleted result
        said = one.ask("remote", "gc", "team", "--size", f"{sum(sizes) - 1}")
        assert said.startswith("1 result deleted")
        other = machines(f"other{number}", folder_cache)
        listed = re.search(r"(\d+) results", other.ask("remote", "list", "--refresh"))
        # a deleted result, once published again, is in two publications
        assert listed is not None and int(listed[1]) - number == 14
        assert one.ask("push", "--all").startswith("team: 1 result published")
    folder_cache.git("fsck", "--strict")


def test_simultaneous_publishers_lose_nothing(folder_cache: Cache, machines: Machines) -> None:
    one = grown(machines, folder_cache)
    pushers = []
    for number in range(4):
        other = machines(f"m{number}", folder_cache, "--push")
        other.change(f"of machine {number}")
        other.build("--offline")
        pushers.append(subprocess.Popen([PROV, "push"], cwd=other.root, stdout=subprocess.DEVNULL))
    for _ in range(3):
        one.prov("remote", "gc", "team", "--days", "0", "--builds", "0")
    assert [pusher.wait(60) for pusher in pushers] == [0] * 4
    keys = folder_cache.keys()
    folder_cache.is_clean()
    assert set(keys) == set(TASKS)


def test_a_publisher_that_lost_a_race_retries_and_cleans_up(
    folder_cache: Cache, machines: Machines
) -> None:
    one, other = grown(machines, folder_cache), machines("other", folder_cache, "--push")
    other.change("of another machine")
    other.build("--offline")
    store, asked = Store.open(one.root / ".prov"), 0
    opened = open_git_remote(find_remote(store, "team"), store, Access(dict(os.environ)))

    def choose() -> list[Published]:
        nonlocal asked
        asked += 1
        gone = expired(opened, RemoteRules(days=0, builds=0), time.time())
        if asked == 1:
            other.prov("push")
        return gone

    shrink(opened, choose)
    assert asked == 2
    folder_cache.is_clean()


def test_a_secret_is_deleted_from_store_disk_and_remote(
    folder_cache: Cache, machines: Machines
) -> None:
    one = machines("one", folder_cache, "--push")
    one.change(SECRET)
    one.write("recipes/words/words/08", f"{SECRET}\n")
    one.build("--offline")
    one.prov("push")
    (one.root / "recipes/words/words/08").write_text("clean\n")
    one.build("--offline")
    one.prov("push")
    before = len(folder_cache.keys())
    assert "would be removed" in one.ask("forget", "--containing", SECRET, "-n")
    said = one.ask("forget", "--containing", SECRET)
    assert "team: " in said
    for folder in (one.root / ".prov", folder_cache.path):
        command = ["git", f"--git-dir={folder}", "cat-file", "--batch-all-objects", "--batch"]
        assert (
            SECRET.encode() not in subprocess.run(command, capture_output=True, check=True).stdout
        )
    found = subprocess.run(
        ["grep", "-rl", SECRET, ".prov", "build/work"], cwd=one.root, capture_output=True, text=True
    )
    assert found.stdout == ""
    assert len(folder_cache.keys()) <= before
    one.is_clean()
    folder_cache.is_clean()
    assert "nothing to do" in one.build()
    assert one.deployed() == one.wanted()


def test_remaining_copies_of_a_secret_are_reported(folder_cache: Cache, machines: Machines) -> None:
    one = machines("one", folder_cache, "--push")
    one.add("away", "git://127.0.0.1:9/cache.git")
    one.write("recipes/words/words/08", f"{SECRET}\n")
    one.build("--offline")
    done = one.prov("forget", "--containing", SECRET, code=1)
    assert "remains: away" in done.stdout
    assert "remains: away" in one.prov("forget", "--containing", SECRET, code=1).stdout
    one.prov("remote", "remove", "away")
    said = "prov: no file in the store or at its remotes contains that text"
    assert one.complaint("forget", "--containing", SECRET) == said


def test_a_run_is_forgotten_by_its_name(folder_cache: Cache, machines: Machines) -> None:
    one = machines("one", None, built=True)
    assert one.git("tag", "-l", "words/take/*")
    one.prov("forget", "words:take")
    assert one.git("tag", "-l", "words/take/*") == ""
    one.is_clean()
    one.build()
    assert one.deployed() == one.wanted()


def test_a_remote_restores_lost_objects(folder_cache: Cache, machines: Machines) -> None:
    machines("one", folder_cache, "--push", built=True).prov("push")
    other = machines("other", folder_cache)
    other.build()
    other.prov("fsck")
    (ref,) = other.git("for-each-ref", "--format=%(refname)", "refs/prov/output/app/pack").split()
    file = next(
        row.split()[2]
        for row in other.git("ls-tree", "-r", ref).splitlines()
        if row.endswith("/main")
    )
    for left in ("build", ".prov/prov/pool", ".prov/prov/pool-open"):
        subprocess.run(["rm", "-rf", other.root / left], check=True)
    (other.root / "recipes/app/main").write_text("another\n")
    spoil(other.root / ".prov", bytes.fromhex(file))
    assert file in other.prov("fsck", code=1).stdout
    assert f"{file}: restored" in other.ask("fsck", "--repair")
    assert other.git("cat-file", "blob", file) == "main\n"
    other.prov("fsck")
    other.is_clean()


def spoil(store: Path, oid: bytes) -> None:
    """Overwrite a part of an object in its pack."""
    for index in (store / "objects/pack").glob("*.idx"):
        place = PackFile(index).find(oid)
        if place >= 0:
            offset = PackFile(index).offset(place)
            pack = index.with_suffix(".pack")
            data = bytearray(pack.read_bytes())
            data[offset + 3 : offset + 6] = b"\xff\xff\xff"
            pack.unlink()
            pack.write_bytes(data)
            return
    raise AssertionError("it is in no pack")


def test_collection_during_builds(machines: Machines) -> None:
    one = machines("one", None, built=True)
    with (one.root / "prov.toml").open("a") as stream:
        stream.write("\n[gc]\nauto = true\ndays = 0\nbuilds = 1\nworkdirs = 1\n")
    one.change("second")
    one.build()
    until(lambda: (one.root / ".prov/prov/collected").exists(), "it collects")
    assert all(
        len(one.git("tag", "-l", f"{task.replace(':', '/')}/*").split()) == 1 for task in TASKS
    )
    one.build()
    assert one.deployed() == one.wanted()
    one.is_clean()


@pytest.mark.parametrize(
    "text", ["days = -1", 'builds = "x"', "much = 3", 'size = "lots"', "auto = 1"]
)
def test_invalid_rules_are_reported(text: str, machines: Machines) -> None:
    one = machines("one")
    with (one.root / "prov.toml").open("a") as stream:
        stream.write(f"\n[gc]\n{text}\n")
    assert one.complaint("gc").startswith("prov: ")


def test_a_reused_result_is_published_as_used(folder_cache: Cache, machines: Machines) -> None:
    """A machine that only fetches keeps results at the remote alive, without publishing any."""
    one = machines("one", folder_cache, "--push", built=True)
    one.prov("push")
    folder_cache.rewrite(
        lambda text: re.sub(r"^time \d+$", "time 1000000000", text, flags=re.MULTILINE)
    )
    other = machines("other", folder_cache, "--push")
    other.build()
    until(
        lambda: folder_cache.git("rev-list", "--count", "prov/index").strip() == "2",
        "it says what it used",
    )
    path = "prov/index:publications/00000002"
    assert "used " in folder_cache.git("show", path)
    assert "task " not in folder_cache.git("show", path)
    one.change("second")
    one.build("--offline")
    one.prov("push")
    said = one.ask("remote", "gc", "team", "--days", "30", "--builds", "0")
    assert said.startswith("0 results deleted"), "the old ones were used today"


def test_toolchains_of_plans_are_kept(folder_cache: Cache, machines: Machines) -> None:
    machines("one", folder_cache, "--push", built=True).prov("push")
    other = machines("other", folder_cache)
    other.build()
    before = other.git("for-each-ref", "refs/prov/toolchain")
    assert before
    other.prov("gc", "--days", "0", "--builds", "1", "--workdirs", "0")
    assert other.git("for-each-ref", "refs/prov/toolchain") == before


def test_a_task_starts_from_a_fetched_workdir(folder_cache: Cache, machines: Machines) -> None:
    """The inputs of that WORKDIR, in its own recipe and others, were never in this store."""
    machines("one", folder_cache, built=True).prov("push", "--remote", "team", "--with-workdirs")
    other = machines("other", folder_cache)
    other.prov("build", "words", "--force", "words:make")
    assert "words:take fetched" not in other.said
    assert "words:make" in other.outputs()
    other.is_clean()
