"""The output of commands on remotes: lists, one line per error, and no passwords."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.remote.conftest import Machines
from tests.remote.story import Cache
from tests.servers.http import PASSWORD, USER, login

pytestmark = pytest.mark.process


def test_remotes_are_listed(folder_cache: Cache, machines: Machines) -> None:
    one = machines("one", built=True)
    assert one.ask("remote", "list") == ""
    assert one.json("remote", "list")["remotes"] == []
    one.join("team", folder_cache, "--push")
    one.add("second", "ssh://nobody@example.org/srv/cache", "--priority", "70")
    url = f"file://{folder_cache.path}"
    assert one.ask("remote", "list").splitlines() == [
        f"team  {url}  trust none  push  not contacted yet",
        "second  ssh://nobody@example.org/srv/cache  trust none  not contacted yet",
    ]
    one.prov("push", "-r", "team")
    first, second = one.json("remote", "list")["remotes"]
    expected = {
        "name": "team",
        "url": url,
        "priority": 50,
        "trust": "none",
        "push": True,
        "results": 5,
        "problem": "",
    }
    assert first.items() >= expected.items()
    assert (second["name"], second["priority"], second["push"]) == ("second", 70, False)


def test_no_password_is_shown(http_cache: Cache, machines: Machines, tmp_path: Path) -> None:
    """For working and failing remotes, in lists, errors and notes."""
    one, password = machines("one", built=True), PASSWORD.replace(" ", "%20")
    assert http_cache.server is not None
    url = http_cache.url.replace("http://", f"http://{USER}:{password}@")
    one.environment["HOME"] = str(tmp_path)
    one.add("team", url, "--push")
    assert one.ask("push").startswith("team: 5 results")
    shown = one.ask("remote", "list") + one.ask("remote", "list", "--json")
    one.add("team", url.replace(password, "wr0ng"), "--push")
    shown += one.complaint("push")
    http_cache.server.stop()
    one.add("team", url, "--push")
    shown += one.complaint("push")
    one.change("new")
    one.build()
    shown += one.said + one.ask("remote", "list", "--refresh", code=1)
    shown += one.prov("remote", "list", "--refresh", code=1).stderr
    assert "remote team" in shown
    for text in (password, PASSWORD, "wr0ng"):
        assert text not in shown


def test_an_error_is_one_line(http_cache: Cache, machines: Machines, tmp_path: Path) -> None:
    one = machines("one", http_cache, "--push", built=True)
    one.environment |= login(tmp_path / "home", password="wrong")
    assert "remote team: " in one.complaint("push")
    one.change("new")
    assert one.build() == "5 ran"
    assert [
        line
        for line in one.said.splitlines()
        if "remote team" in line and "continuing without it" in line
    ] != []
    assert one.said.count("remote team") == 1
    assert "no such remote: tem" in one.complaint("push", "-r", "tem")
    assert "invalid URL" in one.complaint(
        "remote", "add", "bad", "ext::sh -c true", "--trust", "none"
    )
    assert "invalid remote name" in one.complaint(
        "remote", "add", "../bad", "/tmp/x", "--trust", "none"
    )
    assert "requires a file of allowed signers" in one.complaint(
        "remote", "add", "more", "ssh://example.org/srv/cache"
    )
    one.add("gone", http_cache.url.replace("cache.git", "gone.git"), "--push")
    assert "remote gone: " in one.complaint("push", "-r", "gone")
    one.add("nowhere", "git://127.0.0.1:1/cache.git")
    assert "remote nowhere: " in one.complaint("push", "-r", "nowhere")


def test_invalid_settings_are_reported_and_can_be_replaced(
    folder_cache: Cache, machines: Machines
) -> None:
    one = machines("one", folder_cache)
    one.git("config", "prov-remote.team.priority", "high")
    assert "remote team: invalid settings" in one.complaint("remote", "list")
    one.join("team", folder_cache)
    assert one.ask("remote", "list").startswith("team  ")
    one.git("config", "prov-remote.team.trust", "blindly")
    one.prov("remote", "remove", "team")
    assert one.ask("remote", "list") == ""


def test_a_list_of_remotes_with_a_dead_one(folder_cache: Cache, machines: Machines) -> None:
    one = machines("one", folder_cache, "--push", built=True)
    one.prov("push")
    one.add("gone", "git://127.0.0.1:1/cache.git")
    done = one.prov("remote", "list", "--refresh", code=1)
    assert "note: remote gone: fatal: unable to connect" in done.stderr
    assert "build" not in done.stderr
    assert any(
        line.startswith("gone ") and line.endswith("not contacted yet")
        for line in done.stdout.splitlines()
    )
    assert len(one.json("remote", "list", "--refresh", code=1)["remotes"]) == 2
    one.prov("remote", "list")


def test_nothing_to_share_is_explained(
    folder_cache: Cache, machines: Machines, tmp_path: Path
) -> None:
    one = machines("one", folder_cache, "--push")
    nothing = "nothing to share: no successful task is recorded\n"
    assert one.ask("push", "--all") == nothing
    assert one.ask("export", str(tmp_path / "www"), "--all") == nothing
    assert folder_cache.refs() == set()
    (one.root / "work").mkdir()
    one.prov("capture", "work", "--as", "mine:first")
    # without --output, the record is shared alone
    assert "1 result published" in one.ask("push", "--all")


def test_results_that_are_not_shared_are_reported(folder_cache: Cache, machines: Machines) -> None:
    one = machines("one", folder_cache)
    one.build()
    one.edit(
        "recipes/app/app.toml", "cp sources/main image/main", "cp sources/main image/main; ls image"
    )
    one.build("--incremental")
    done = one.prov("push")
    assert done.stdout.startswith("team: 3 results published")
    assert (
        "note: not shared: app:make, app:pack: built from an earlier WORKDIR (`--incremental`)"
        in done.stderr
    )
