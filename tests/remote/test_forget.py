"""Published records with a secret: found even if the store lacks them, and removed or reported."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.remote.conftest import Machines
from tests.remote.story import Cache, Machine, git
from tests.servers.fixtures import Servers

pytestmark = pytest.mark.process

SECRET = "hunter2-is-the-password"


def leaking(machines: Machines, cache: Cache | None, *options: str) -> Machine:
    """Return a machine that published a source with a secret and then one without."""
    one = machines("one", cache, "--push")
    for text in (SECRET, "clean"):
        one.write("recipes/words/words/08", f"{text}\n")
        one.build("--offline")
        if cache is not None:
            one.prov("push", *options)
    return one


def lose(machine: Machine) -> None:
    """Remove the published records from the store: they have no ref, so gc deletes them."""
    for path in (machine.root / ".prov/objects").rglob("*.*"):
        os.utime(path, (1, 1))
    machine.prov("gc")


def holds(folder: Path) -> bool:
    """Return whether an object in a remote's branches contains the secret."""
    return any(
        subprocess.run(
            ["git", f"--git-dir={folder}", "grep", "-q", SECRET, commit], check=False
        ).returncode
        == 0
        for commit in git(folder, "rev-list", "--all").split()
    )


@pytest.mark.parametrize("way", ["gc", "forget", "another machine"])
def test_missing_records_are_fetched_and_searched(
    way: str, folder_cache: Cache, machines: Machines
) -> None:
    one = leaking(machines, folder_cache)
    assert holds(folder_cache.path)
    before = len(folder_cache.keys())
    if way == "gc":
        lose(one)
    elif way == "forget":
        one.prov("forget", "app:pack")
    else:
        one = machines("other", folder_cache)
    said = one.ask("forget", "--containing", SECRET)
    assert "team: " in said
    assert not holds(folder_cache.path)
    assert 0 < len(folder_cache.keys()) <= before
    folder_cache.is_clean()
    one.is_clean()
    assert "no file in the store or at its remotes contains that text" in one.complaint(
        "forget", "--containing", SECRET
    )
    other = machines("last", folder_cache)
    other.write("recipes/words/words/08", "clean\n")
    assert "fetched" in other.build()


def test_missing_workdirs_are_searched(folder_cache: Cache, machines: Machines) -> None:
    """The secret is in a published log of a run on another machine."""
    one = machines("one", folder_cache, "--push")
    one.edit(
        "recipes/app/app.toml",
        "cp sources/main image/main",
        "cp sources/main image/main; cat sources/main",
    )
    one.write("recipes/app/main", f"{SECRET}\n")
    one.build("--offline")
    one.prov("push", "--with-workdirs")
    other = machines("other", folder_cache)
    assert "team: " in other.ask("forget", "--containing", SECRET, "-n")
    assert "team: 2 results removed" in other.ask("forget", "--containing", SECRET)
    assert not holds(folder_cache.path)
    folder_cache.is_clean()


def test_unsearchable_content_is_reported(folder_cache: Cache, machines: Machines) -> None:
    one = leaking(machines, folder_cache)
    lose(one)
    for pack in list(folder_cache.path.rglob("*.pack")):
        away = pack.rename(folder_cache.path.parent / pack.name)
        pack.with_suffix(".idx").unlink()
        command = ["git", f"--git-dir={folder_cache.path}", "unpack-objects", "-q"]
        subprocess.run(command, stdin=away.open("rb"), check=True)
    secret = git(folder_cache.path, "hash-object", "--stdin", data=f"{SECRET}\n").strip()
    (folder_cache.path / "objects" / secret[:2] / secret[2:]).unlink()
    done = one.prov("forget", "--containing", SECRET, code=1)
    assert "remains: team" in done.stdout
    assert "cannot search" in done.stdout


def test_plain_files_are_searched(
    static_server: Servers, machines: Machines, tmp_path: Path
) -> None:
    """Both static caches behind a URL and folders that this store exported to."""
    folder = tmp_path / "www" / "cache"
    folder.parent.mkdir()
    one = leaking(machines, None)
    one.prov("export", str(folder), "--all")
    other = machines("other")
    other.add("mirror", static_server(folder.parent).url("cache"))
    done = other.prov("forget", "--containing", SECRET, code=1)
    assert "remains: mirror" in done.stdout
    assert "plain files" in done.stdout
    done = one.prov("forget", "--containing", SECRET, code=1)
    assert f"remains: {folder}: exported files" in done.stdout
    subprocess.run(["rm", "-r", folder], check=True)
    one.prov("export", str(folder), "--all")
    assert "no file" in one.complaint("forget", "--containing", SECRET)


def test_a_branch_of_an_interrupted_push_is_reported(
    folder_cache: Cache, machines: Machines
) -> None:
    one = leaking(machines, folder_cache)
    content = folder_cache.git("rev-parse", "prov/content").strip()
    folder_cache.git("update-ref", "refs/heads/prov/incoming/99999999999-abc", content)
    done = one.prov("forget", "--containing", SECRET, code=1)
    assert "refs/heads/prov/incoming/99999999999-abc" in done.stdout
