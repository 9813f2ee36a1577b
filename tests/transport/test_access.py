"""The user's git settings apply, but not the variables of the caller's repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from prov.transport.access import Access, http_settings, resolved_url

PATH = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}


def configured(tmp_path: Path, text: str) -> dict[str, str]:
    config = tmp_path / "a-config"
    config.write_text(text)
    return {**PATH, "GIT_CONFIG_GLOBAL": str(config)}


@pytest.mark.parametrize(
    ("allowed", "protocols"),
    [
        (None, "file:ssh:git:http:https"),
        ("", ""),
        ("https", "https"),
        ("ext:ssh:https", "ssh:https"),
    ],
)
def test_protocols(allowed: str | None, protocols: str) -> None:
    environment = {**PATH} if allowed is None else {**PATH, "GIT_ALLOW_PROTOCOL": allowed}
    assert Access(environment).variables()["GIT_ALLOW_PROTOCOL"] == protocols


@pytest.mark.parametrize("name", ["GIT_DIR", "GIT_INDEX_FILE", "GIT_QUARANTINE_PATH"])
def test_variables_of_the_callers_repository_are_removed(name: str) -> None:
    assert name not in Access({**PATH, name: "/x"}).variables()


@pytest.mark.parametrize(
    ("environment", "is_asked"),
    [({}, True), ({"GIT_SSH": "plink"}, False), ({"GIT_SSH_COMMAND": "mine"}, False)],
)
def test_ssh_does_not_prompt_unless_the_user_set_a_command(
    environment: dict[str, str], is_asked: bool
) -> None:
    variables = Access({**PATH, **environment}).variables()
    assert ("BatchMode=yes" in variables.get("GIT_SSH_COMMAND", "")) == is_asked
    assert "GIT_TERMINAL_PROMPT" not in Access({**PATH}, interactive=True).variables()


def test_an_ssh_command_in_the_configuration(tmp_path: Path) -> None:
    environment = configured(tmp_path, "[core]\n\tsshCommand = mine\n")
    assert "GIT_SSH_COMMAND" not in Access(environment).variables()


def test_the_url_that_git_uses(tmp_path: Path) -> None:
    text = '[url "file:///srv/"]\n\tinsteadOf = ssh://team.invalid/\n'
    access = Access(configured(tmp_path, text))
    assert resolved_url("ssh://team.invalid/cache.git", access) == "file:///srv/cache.git"
    assert resolved_url("ssh://else.invalid/cache.git", access) == "ssh://else.invalid/cache.git"
    assert resolved_url("--help", access) == "--help"


def test_settings_of_http(tmp_path: Path) -> None:
    text = (
        "[http]\n\tsslVerify = false\n\tsslCAInfo = /all\n"
        '[http "https://one.invalid"]\n\tsslCAInfo = /one\n'
    )
    environment = configured(tmp_path, text)
    assert http_settings("https://one.invalid/x", Access(environment)) == {
        "sslverify": "false",
        "sslcainfo": "/one",
    }
    environment["GIT_SSL_CAINFO"] = "/variable"
    settings = http_settings("https://two.invalid/x", Access(environment))
    assert settings["sslcainfo"] == "/variable"


def test_an_unreadable_configuration_is_ignored(tmp_path: Path) -> None:
    access = Access(configured(tmp_path, "[core\n"))
    assert http_settings("https://one.invalid/x", access) == {}
    assert resolved_url("https://one.invalid/x", access) == "https://one.invalid/x"
