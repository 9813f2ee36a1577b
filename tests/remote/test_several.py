"""Several remotes, and remotes that have changed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.remote.conftest import Machines
from tests.remote.story import TASKS, Cache, git, is_clean, until

pytestmark = pytest.mark.process


@pytest.fixture
def caches(tmp_path: Path) -> tuple[Cache, Cache]:
    first, second = tmp_path / "first.git", tmp_path / "second.git"
    return Cache(first, str(first)), Cache(second, str(second))


def test_each_remote_has_a_part(caches: tuple[Cache, Cache], machines: Machines) -> None:
    one, other = machines("one"), machines("other")
    for machine in (one, other):
        machine.join("second", caches[1], "--priority", "20")
        machine.join("first", caches[0], "--priority", "10")
        machine.one("a", "echo a > out/a")
        machine.one("b", "echo b > out/b")
    for recipe, name in (("a", "first"), ("b", "second")):
        one.prov("build", recipe)
        assert (
            one.ask("push", "-r", name)
            == f"{name}: 1 result published in 1 push; 0 already there\n"
        )
    assert [row["name"] for row in other.json("remote", "list")["remotes"]] == ["first", "second"]
    assert "2 fetched" in other.ask("build", "a", "b")
    other.is_clean()


def test_the_first_is_unreachable(caches: tuple[Cache, Cache], machines: Machines) -> None:
    one, other = machines("one", built=True), machines("other")
    for machine in (one, other):
        machine.join("first", caches[0], "--priority", "10", "--push")
        machine.join("second", caches[1], "--priority", "20", "--push")
    assert one.ask("push").count("5 results published") == 2
    shutil.rmtree(caches[0].path)
    assert other.build() == "1 fetched"
    assert other.said.count("remote first: fatal: ") == 1
    assert other.said.count("remote second") == 0


def test_the_first_has_a_bad_record(caches: tuple[Cache, Cache], machines: Machines) -> None:
    one, other = machines("one", built=True), machines("other")
    for machine in (one, other):
        machine.join("first", caches[0], "--priority", "10", "--push")
        machine.join("second", caches[1], "--priority", "20", "--push")
    one.prov("push")
    digests = {line.split(" ")[1]: line.split(" ")[6] for line in caches[0].published()}
    caches[0].rewrite(lambda text: text.replace(digests["app:pack"], digests["app:make"]))
    assert other.build() == "1 fetched"
    assert other.said.count("remote first: app:pack: the record does not match") == 1
    assert other.deployed() == one.wanted()
    other.is_clean()
    caches[1].rewrite(lambda text: text.replace(digests["app:pack"], digests["app:make"]))
    third = machines("third")
    third.join("second", caches[1])
    assert third.build() == "1 ran, 1 fetched"
    assert third.said.count("remote second: app:pack: the record does not match") == 1
    assert third.deployed() == one.wanted()


def test_two_names_for_one_url(folder_cache: Cache, machines: Machines) -> None:
    one, other = machines("one", built=True), machines("other")
    for machine in (one, other):
        machine.join("a", folder_cache, "--push")
        machine.join("b", folder_cache, "--push")
    assert one.ask("push").splitlines() == [
        "a: 5 results published in 1 push; 0 already there",
        "b: 0 results published in 0 pushes; 5 already there",
    ]
    assert other.build() == "1 fetched"
    folder_cache.is_clean()
    one.change("new")
    one.build()
    one.prov("push", "-r", "b")
    assert sorted(folder_cache.keys()) == sorted(TASKS * 2)
    folder_cache.is_clean()


def test_a_remote_that_is_removed(folder_cache: Cache, machines: Machines) -> None:
    one, other = machines("one", folder_cache, built=True), machines("other", folder_cache)
    one.prov("push")
    other.build()
    other.prov("remote", "remove", "team")
    assert other.ask("remote", "list") == ""
    assert not (other.root / ".prov/prov/remotes/team").exists()
    assert other.build() == "nothing to do"
    assert other.outputs() == {"app:pack"}
    assert "no such remote: team" in other.complaint("remote", "remove", "team")
    assert "no remote to push to" in other.complaint("push")
    other.change("new")
    assert other.build() == "5 ran"


def test_a_history_that_was_rewritten(folder_cache: Cache, machines: Machines) -> None:
    one, other = machines("one", folder_cache, built=True), machines("other", folder_cache)
    one.prov("push")
    other.prov("remote", "list", "--refresh")
    folder_cache.rewrite()
    assert other.build() == "1 fetched"
    one.change("new")
    one.build()
    assert one.ask("push") == "team: 5 results published in 1 push; 0 already there\n"
    other.change("new")
    assert other.build() == "1 fetched"
    folder_cache.is_clean()


@pytest.mark.parametrize("gone", [["index"], ["content"], ["index", "content"]])
def test_a_branch_that_was_deleted(
    gone: list[str], folder_cache: Cache, machines: Machines
) -> None:
    """Without its index a remote has no results; the next push publishes all.

    Without its content, unchanged objects are still found.
    """
    one, other = machines("one", folder_cache, built=True), machines("other", folder_cache)
    one.prov("push")
    for name in gone:
        folder_cache.git("update-ref", "-d", f"refs/heads/prov/{name}")
    assert other.build() == ("5 ran" if "index" in gone else "1 fetched")
    one.change("new")
    one.build()
    assert one.ask("push", "--all").startswith(
        f"team: {10 if 'index' in gone else 5} results published"
    )
    other.change("new")
    assert other.build() == "1 fetched"
    folder_cache.is_clean()


def test_a_repository_that_is_not_a_cache(tmp_path: Path, machines: Machines) -> None:
    one = machines("one", built=True)
    (tmp_path / "files").mkdir()
    (tmp_path / "files/file").write_text("text\n")
    assert "neither empty nor a git repository" in one.complaint(
        "remote", "add", "team", str(tmp_path / "files")
    )
    one.add("team", str(tmp_path / "gone"), "--push")
    shutil.rmtree(tmp_path / "gone")
    (tmp_path / "gone").write_text("a file\n")
    assert "remote team: fatal: " in one.complaint("push")
    one.change("new")
    assert one.build() == "5 ran"
    assert one.said.count("remote team") == 1


def test_a_repository_with_other_branches(tmp_path: Path, machines: Machines) -> None:
    """Those branches are unchanged."""
    source = tmp_path / "source"
    by = ("-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run(["git", "init", "-q", "-b", "main", str(source)], check=True)
    (source / "file").write_text("text\n")
    for words in (
        ("add", "file"),
        (*by, "commit", "-qm", "first"),
        ("tag", "v1"),
        ("branch", "other"),
    ):
        subprocess.run(["git", *words], cwd=source, check=True)
    before = git(source / ".git", "for-each-ref")
    one, other = machines("one", built=True), machines("other")
    for machine in (one, other):
        machine.add("team", f"file://{source}", "--push")
    assert one.ask("push") == "team: 5 results published in 1 push; 0 already there\n"
    assert other.build() == "1 fetched"
    after = git(source / ".git", "for-each-ref").splitlines()
    assert [line for line in after if "refs/heads/prov/" not in line] == before.splitlines()
    status = subprocess.run(
        ["git", "status", "--porcelain"], cwd=source, capture_output=True, text=True, check=True
    )
    assert status.stdout == ""
    is_clean(source / ".git")


def test_cached_indexes_may_be_deleted(folder_cache: Cache, machines: Machines) -> None:
    one, other = machines("one", folder_cache, built=True), machines("other", folder_cache)
    memory = [machine.root / ".prov/prov/remotes" for machine in (one, other)]

    def forget() -> None:
        for folder in memory:
            shutil.rmtree(folder, ignore_errors=True)

    one.prov("push")
    forget()
    assert one.ask("push") == "team: 0 results published in 0 pushes; 5 already there\n"
    assert other.build() == "1 fetched"
    forget()
    one.change("new")
    other.change("new")
    assert one.build() == "5 ran" or "fetched" in one.said
    forget()
    assert one.ask("push") == "team: 5 results published in 1 push; 0 already there\n"
    forget()
    assert other.build() == "1 fetched"
    forget()
    assert other.build() == "nothing to do"
    folder_cache.is_clean()


def test_a_remote_with_only_an_image(caches: tuple[Cache, Cache], machines: Machines) -> None:
    """prov finds it by the recipes, without the hash of any of its inputs."""
    one, other, third = machines("one", built=True), machines("other"), machines("third")
    one.join("first", caches[0])
    other.join("first", caches[0])
    other.join("second", caches[1], "--push")
    third.join("second", caches[1])
    one.prov("push")
    assert other.build() == "1 fetched"
    until(lambda: "refs/heads/prov/index" in caches[1].refs(), "it is published")
    assert caches[1].keys() == ["app:pack"]
    assert third.ask("plan", "app").startswith("app:pack  fetch ")
    assert third.build() == "1 fetched"
    assert third.deployed() == one.wanted()
    third.is_clean()
    third.edit("recipes/app/app.toml", "cp -r image/* app/", "cp -r image/* app/; ls app")
    assert third.build() == "5 ran"
    third.is_clean()
