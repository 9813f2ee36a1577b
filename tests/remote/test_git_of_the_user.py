"""Connect to remotes with the user's git settings, in builds as in `prov push`, but never use these
settings for the store.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from prov.transport.access import Access, http_settings, resolved_url
from prov.transport.git import Transport, make_scratch
from tests.remote.conftest import Machines
from tests.remote.story import Cache, Machine, git, until

pytestmark = pytest.mark.process

SSH = """#!/bin/sh
# stands for ssh: runs the command here, and notes that it was asked
echo "$0 $*" >> {note}
while [ $# -gt 0 ]; do case $1 in -o|-p) shift 2;; -G) exit 0;; -*) shift;; *) break;; esac; done
shift
exec sh -c "$*"
"""


@pytest.fixture
def note(tmp_path: Path) -> Path:
    return tmp_path / "asked"


@pytest.fixture
def ssh(tmp_path: Path, note: Path) -> Path:
    path = tmp_path / "my-ssh"
    path.write_text(SSH.format(note=note))
    path.chmod(0o755)
    return path


def ways(ssh: Path, tmp_path: Path) -> dict[str, dict[str, str]]:
    """Return the ways to set an ssh command, as environments."""
    file = tmp_path / "a-config"
    file.write_text(f"[core]\n\tsshCommand = {ssh}\n")
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(file.read_text())
    return {
        "GIT_SSH": {"GIT_SSH": str(ssh)},
        "GIT_SSH_COMMAND": {"GIT_SSH_COMMAND": str(ssh)},
        "core.sshCommand": {"HOME": str(home)},
        "GIT_CONFIG_GLOBAL": {"GIT_CONFIG_GLOBAL": str(file)},
        "GIT_CONFIG_SYSTEM": {"GIT_CONFIG_SYSTEM": str(file), "GIT_CONFIG_NOSYSTEM": "0"},
        "GIT_CONFIG_COUNT": {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "core.sshCommand",
            "GIT_CONFIG_VALUE_0": str(ssh),
        },
        "git -c": {"GIT_CONFIG_PARAMETERS": f"'core.sshcommand'='{ssh}'"},
    }


WAYS = (
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "core.sshCommand",
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_SYSTEM",
    "GIT_CONFIG_COUNT",
    "git -c",
)


@pytest.mark.parametrize("way", WAYS)
def test_the_users_ssh_command(
    way: str, folder_cache: Cache, machines: Machines, ssh: Path, note: Path, tmp_path: Path
) -> None:
    """In a build and in its background push."""
    git_init(folder_cache)
    one = machines("one", built=True)
    one.environment = ways(ssh, tmp_path)[way]
    one.add("team", f"ssh://host.invalid{folder_cache.path}", "--push")
    one.change("second")
    assert one.build() == "5 ran"
    assert "continuing without" not in one.said
    until(lambda: last_push(one).startswith("ok"), "it is published in the background")
    assert note.exists()
    folder_cache.is_clean()


def test_an_ssh_command_in_every_command_that_transfers(
    folder_cache: Cache, machines: Machines, ssh: Path, note: Path, tmp_path: Path
) -> None:
    git_init(folder_cache)
    one, other = machines("one", built=True), machines("other")
    environment = ways(ssh, tmp_path)["core.sshCommand"]
    for machine in (one, other):
        machine.environment = environment
        machine.add("team", f"ssh://host.invalid{folder_cache.path}", "--push")
    one.prov("push")
    one.change("second")
    one.build("--offline")
    one.prov("push", "--all")
    other.change("second")
    assert other.build() == "1 fetched"
    other.prov("pull")
    assert other.prov("remote", "list", "--refresh").stdout.endswith("  10 results\n")
    one.prov("remote", "gc", "team", "--days", "0", "--builds", "0")
    assert len(note.read_text().splitlines()) > 10
    folder_cache.is_clean()


def git_init(cache: Cache) -> None:
    subprocess.run(["git", "init", "-q", "--bare", cache.path], check=True)


def last_push(machine: Machine) -> str:
    return (machine.root / ".prov/prov/remotes/team/last-push").read_text()


@pytest.mark.parametrize("interactive", [True, False])
def test_instead_of_replaces_a_url(
    interactive: bool, folder_cache: Cache, machines: Machines, tmp_path: Path
) -> None:
    git_init(folder_cache)
    config = tmp_path / "a-config"
    config.write_text(
        f'[url "file://{folder_cache.path.parent}/"]\n\tinsteadOf = ssh://team.invalid/\n'
    )
    one = machines("one", built=True)
    one.environment = {"GIT_CONFIG_GLOBAL": str(config)}
    one.add("team", "ssh://team.invalid/cache.git", "--push")
    one.prov("push")
    one.change("second")
    assert one.build() == "5 ran"
    assert "continuing without" not in one.said
    environment = {**os.environ, **one.environment}
    expected = f"file://{folder_cache.path}"
    assert (
        resolved_url("ssh://team.invalid/cache.git", Access(environment, interactive)) == expected
    )


def test_a_callers_repository_is_not_the_remote(
    folder_cache: Cache, machines: Machines, tmp_path: Path
) -> None:
    """These variables are set in a git hook or alias."""
    trap = tmp_path / "trap.git"
    subprocess.run(["git", "init", "-q", "--bare", trap], check=True)
    one = machines("one", folder_cache, "--push", built=True)
    one.environment |= {
        "GIT_DIR": str(trap),
        "GIT_COMMON_DIR": str(trap),
        "GIT_OBJECT_DIRECTORY": str(trap / "objects"),
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": "/nonexistent",
        "GIT_WORK_TREE": str(tmp_path),
        "GIT_INDEX_FILE": str(tmp_path / "index"),
        "GIT_NAMESPACE": "elsewhere",
        "GIT_QUARANTINE_PATH": str(trap),
        "GIT_SHALLOW_FILE": "/nonexistent",
    }
    assert one.ask("push").startswith("team: 5 results")
    one.change("second")
    assert one.build() == "5 ran"
    assert "continuing without" not in one.said
    one.prov("remote", "list", "--refresh")
    one.environment.clear()
    assert git(trap, "for-each-ref") == ""
    assert git(trap, "cat-file", "--batch-all-objects", "--batch-check") == ""
    one.is_clean()


def test_the_store_is_read_without_the_users_configuration(
    machines: Machines, tmp_path: Path
) -> None:
    """Settings that would stop git from reading the store do not stop commands without a remote."""
    config = tmp_path / "a-config"
    config.write_text("[core\n")
    one = machines("one", built=True)
    one.environment = {
        "GIT_CONFIG_GLOBAL": str(config),
        "GIT_CONFIG_SYSTEM": str(config),
        "GIT_CONFIG_COUNT": "x",
    }
    one.prov("fsck")
    one.prov("log", "app:pack")
    assert one.build() == "nothing to do"


def variables(environment: Mapping[str, str], *, interactive: bool = False) -> dict[str, str]:
    return Access(
        {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **environment}, interactive
    ).variables()


def test_a_build_does_not_prompt() -> None:
    made = variables({"GIT_CONFIG_NOSYSTEM": "1"})
    assert made["GIT_TERMINAL_PROMPT"] == "0"
    assert "BatchMode=yes" in made["GIT_SSH_COMMAND"]
    assert variables({"GIT_SSH": "plink"}).get("GIT_SSH_COMMAND") is None
    assert variables({"GIT_SSH_COMMAND": "mine"})["GIT_SSH_COMMAND"] == "mine"
    asking = variables({}, interactive=True)
    assert "GIT_TERMINAL_PROMPT" not in asking
    assert "GIT_SSH_COMMAND" not in asking


def test_the_user_cannot_allow_more_protocols_than_prov() -> None:
    assert variables({"GIT_ALLOW_PROTOCOL": "ssh:ext:https"})["GIT_ALLOW_PROTOCOL"] == "ssh:https"
    assert "ext" not in variables({})["GIT_ALLOW_PROTOCOL"]


def test_variables_for_tls_and_proxies_are_passed_on() -> None:
    given = {
        "GIT_SSL_CAINFO": "a",
        "GIT_SSL_CERT": "b",
        "GIT_SSL_NO_VERIFY": "1",
        "https_proxy": "c",
        "ALL_PROXY": "d",
    }
    assert given.items() <= variables(given).items()


def test_a_helper_in_a_replaced_url_is_not_run(tmp_path: Path) -> None:
    """A remote in the store's settings runs no command, even if the user's settings allow it."""
    environment = {
        **os.environ,
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.ext::touch {tmp_path}/ran #.insteadOf",
        "GIT_CONFIG_VALUE_0": "ssh://team.invalid/",
    }
    transport = Transport("team", "ssh://team.invalid/cache.git", Access(environment))
    with pytest.raises(Exception, match="not allowed"):
        transport.refs(make_scratch(tmp_path / "git"), "*")
    assert not (tmp_path / "ran").exists()


def test_settings_for_http_are_gits(tmp_path: Path) -> None:
    """Static caches use them too, although git does not fetch these files."""
    config = tmp_path / "a-config"
    config.write_text(
        '[http]\n\tproxy = http://all:1\n[http "https://one.invalid"]\n\tproxy = http://one:2\n'
    )
    environment = {
        "PATH": os.environ["PATH"],
        "GIT_CONFIG_GLOBAL": str(config),
        "GIT_CONFIG_NOSYSTEM": "1",
    }
    assert http_settings("https://one.invalid/x", Access(environment))["proxy"] == "http://one:2"
    assert http_settings("https://two.invalid/x", Access(environment))["proxy"] == "http://all:1"
    more = {**environment, "GIT_SSL_NO_VERIFY": "1", "GIT_SSL_CAINFO": "/x"}
    assert (
        http_settings("https://two.invalid/x", Access(more)).items()
        >= {"sslverify": "false", "sslcainfo": "/x"}.items()
    )


def test_a_missing_file_of_certificates_is_reported(machines: Machines) -> None:
    one = machines("one")
    one.environment = {"GIT_SSL_CAINFO": "/nonexistent/ca.pem"}
    said = one.refused("remote", "add", "team", "https://127.0.0.1:1/cache", "--trust", "none")
    assert "cannot read certificates" in said
    assert "/nonexistent/ca.pem" in said
