"""One machine publishes and others fetch, with each kind of server: only needed and new objects are
transferred.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.remote.conftest import Machines, make_cache
from tests.remote.story import TASKS, Cache

pytestmark = pytest.mark.process

SHELL = """#!/bin/sh
for word; do :; done
case $word in
GIT_PROTOCOL*) echo "fatal: unrecognized command" >&2; touch "$(dirname "$0")/refused"; exit 128 ;;
esac
exec {ssh} "$@"
"""


def test_others_fetch_published_results(cache: Cache, machines: Machines) -> None:
    """No task runs, and only the requested output is fetched."""
    one, other = machines("one", cache, built=True), machines("other", cache)
    assert one.ask("push") == "team: 5 results published in 1 push; 0 already there\n"
    assert sorted(cache.keys()) == sorted(TASKS)
    moved = cache.moved()
    assert other.build() == "1 fetched"
    whole = cache.moved() - moved
    assert other.outputs() == {"app:pack"}
    assert other.deployed() == one.wanted()

    had = other.objects()
    one.change("new")
    other.change("new")
    assert one.build() == "5 ran"
    moved = cache.moved()
    assert one.ask("push") == "team: 5 results published in 1 push; 0 already there\n"
    pushed = cache.moved() - moved
    moved = cache.moved()
    assert other.build() == "1 fetched"
    assert other.deployed() == one.wanted()
    fetched = cache.moved() - moved
    if cache.line:
        print(f"{cache.line.connections} connections")
    print(
        f"first {whole}, pushed {pushed}, then {fetched} bytes and {len(other.objects() - had)}"
        " objects"
    )
    assert len(other.objects() - had) < 40
    assert fetched <= whole / 2
    for machine in (one, other):
        machine.is_clean()
    cache.is_clean()
    assert one.ask("push") == "team: 0 results published in 0 pushes; 5 already there\n"


def test_a_machine_that_fetched_by_ssh_with_the_old_protocol_pushes_new_objects(
    request: pytest.FixtureRequest, tmp_path: Path, machines: Machines
) -> None:
    """This machine stored how to negotiate with such a server; a machine without this knowledge
    sends all objects.
    """
    cache = make_cache(request, tmp_path, "ssh-v0")
    one, other = machines("one", cache, built=True), machines("other", cache)
    one.prov("push")
    assert other.build() == "1 fetched"
    pushed = {}
    for machine in (one, other):
        machine.change(f"of {machine.root.name}")
        machine.build()
        moved = cache.moved()
        machine.prov("push")
        pushed[machine.root.name] = cache.moved() - moved
    print(pushed)
    assert pushed["other"] < pushed["one"] - 40_000
    cache.is_clean()


def test_ssh_that_runs_only_git(
    request: pytest.FixtureRequest, tmp_path: Path, machines: Machines
) -> None:
    """For example git-shell: a server with the old protocol that cannot switch to the new one.

    All content is copied.
    """
    cache = make_cache(request, tmp_path, "ssh-v0")
    one, other = machines("one", cache, built=True), machines("other", cache)
    shell = tmp_path / "shell"
    shell.write_text(SHELL.format(ssh=other.environment["GIT_SSH_COMMAND"]))
    shell.chmod(0o755)
    other.environment["GIT_SSH_COMMAND"] = str(shell)
    one.prov("push")
    assert other.build() == "1 fetched"
    assert (tmp_path / "refused").exists()
    assert other.deployed() == one.wanted()
    other.is_clean()


def test_the_number_of_requests_does_not_depend_on_the_number_of_results(
    http_cache: Cache, machines: Machines
) -> None:
    """A refresh of the index fetches everything that later queries need."""
    one, other = machines("one", http_cache, built=True), machines("other", http_cache)
    one.prov("push")
    other.prov(
        "remote", "list", "--refresh"
    )  # the first command also checks whether it is a static cache
    for file in range(3):  # three more publications
        one.change("many", file)
        one.build()
        one.prov("push")
    before = len(http_cache.requests(at_least=1))
    other.change("many", 0)
    assert other.ask("plan", "app").startswith("app:pack  fetch ")
    asked = [
        line for line in http_cache.requests(at_least=before + 1)[before:] if " 401 " not in line
    ]
    assert len(asked) <= 3, asked
    requests = http_cache.requests()
    other.prov("plan", "app")  # the index has all of them by now
    assert http_cache.requests() == requests


def test_a_build_with_nothing_to_do_contacts_no_remote(
    http_cache: Cache, machines: Machines
) -> None:
    one, other = machines("one", http_cache, "--push", built=True), machines("other", http_cache)
    one.prov("push")
    other.build()
    before = http_cache.requests()
    for machine in (one, other):
        assert machine.build() == "nothing to do"
        machine.prov("plan", "app")
    assert http_cache.requests() == before


def test_without_a_network_after_fetching_once(http_cache: Cache, machines: Machines) -> None:
    one, other = machines("one", http_cache, built=True), machines("other", http_cache)
    one.prov("push")
    assert other.ask("pull", "app").startswith("5 results fetched")
    assert http_cache.server is not None
    http_cache.server.stop()
    assert other.build() == "nothing to do"
    assert other.said.count("remote team") == 0
    assert other.deployed() == one.wanted()
    other.change("without a network")
    assert other.build() == "5 ran"
    assert other.said.count("remote team") == 1
    assert other.deployed() == other.wanted()
    other.is_clean()


def test_plan_lists_results_to_fetch(folder_cache: Cache, machines: Machines) -> None:
    one, other = machines("one", folder_cache, built=True), machines("other", folder_cache)
    one.prov("push")
    lines = other.ask("plan", "app").splitlines()
    assert lines[0] == "app:pack  fetch       its output is deployed, from a remote"
    assert len(lines) == 2
    assert lines[1].startswith("at most 0 of 5 tasks to run")
    (step,) = [each for each in other.json("plan", "app")["steps"] if each["action"] == "fetch"]
    assert step["task"] == "app:pack"
    other.edit("recipes/app/app.toml", "cp -r image/* app/", "cp -r image/* app/; ls app")
    lines = other.ask("plan", "app").splitlines()
    assert (
        lines[0] == "app:make  fetch       its output is put in place for app:pack, from a remote"
    )
    assert other.build() == "1 ran, 1 fetched"


def test_deployed_outputs_and_inputs_of_a_new_task(folder_cache: Cache, machines: Machines) -> None:
    """The inputs of a task that runs are fetched, and the WORKDIR before it is built, because no
    machine shared it.
    """
    one, other = machines("one", folder_cache, built=True), machines("other", folder_cache)
    one.prov("push")
    other.edit(
        "recipes/words/words.toml", "cp sources/words/* image/usr", "cp sources/words/0* image/usr"
    )
    assert other.build() == "5 ran"
    assert len(other.deployed()) == 11
    other.is_clean()
