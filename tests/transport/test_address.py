"""Validate names and URLs of remotes: none is read as an option, a command, a helper or a different
path.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from prov.remote.settings import default_trust
from prov.transport.address import check_name, folder_of, parse_address, scheme_of, without_password
from prov.transport.errors import RemoteError
from tests.cli.story import Project
from tests.commands import run_prov

HERE = Path("/somewhere/here")

BAD_NAMES = [
    "",
    ".",
    "..",
    "-x",
    "--force",
    "a/b",
    "../a",
    "a..b",
    "a b",
    "a\nb",
    "a\0b",
    "é",
    "a.lock",
    "a.",
    ".a",
    "x" * 65,
]
BAD_NAMES += ["a]\n[core", 'a"b', "a\\b", "a;b", "$(x)", "\u202ea", "\u0661", "a:b", "a=b", "a\n"]

GOOD = {
    "file:///srv/cache": "file:///srv/cache",
    "/srv/cache": "file:///srv/cache",
    "cache": "file:///somewhere/here/cache",
    "../cache.git": "file:///somewhere/cache.git",
    "./a:b": "file:///somewhere/here/a:b",
    "/srv/50%20off": "file:///srv/50%2520off",
    "/srv/a b/ü": "file:///srv/a b/ü",
    "ssh://host/srv/cache": "ssh://host/srv/cache",
    "ssh://me@host:2222/srv/cache": "ssh://me@host:2222/srv/cache",
    "ssh://[::1]:22/srv/cache": "ssh://[::1]:22/srv/cache",
    "me@host:srv/cache": "me@host:srv/cache",
    "host:~/cache": "host:~/cache",
    "git://host/cache": "git://host/cache",
    "https://me:p%40ss@host/cache.git": "https://me:p%40ss@host/cache.git",
    "http://127.0.0.1:8080/cache": "http://127.0.0.1:8080/cache",
}

CANARY = "touch canary"
BAD = [
    *(
        "http://me@",
        "ssh://me@:22/x",
        "",
        " ",
        "\n",
        "\t/srv",
        "/srv\n",
        "/srv/a\nb",
        "/srv/\0",
        "/srv/\x1b[2J",
        "/srv/\x7f",
        "/srv/\u202egit",
        "/srv/\udcff",
    ),
    *("-x", "--upload-pack=touch canary", "-oProxyCommand=touch canary", "-u./canary"),
    *(
        f"ext::sh -c {CANARY}",
        f"ext::sh -c {CANARY}% /x",
        "fd::17",
        "fd::17/x",
        "file::/etc",
        "http::x",
        "transport::address",
    ),
    *("a::b", "::", "ext::", "EXT::sh -c x", "git-remote-ext::x", "ssh::x"),
    *(
        "ssh://-oProxyCommand=touch%20canary/x",
        "ssh://-oX/srv",
        "ssh://me@-oX/srv",
        "ssh://-me@host/srv",
        "ssh://[-oX]/srv",
    ),
    *(
        "ssh://%2doX/srv",
        "ssh://%2doX@host/srv",
        "ssh://host/-oX",
        "ssh://host//-oX",
        "ssh://host/%2doX",
        "ssh://host/~-x",
    ),
    *("-oX:srv", "host:-srv", "host:/-srv", "host:%2dsrv", "me@-oX:srv", "-me@host:srv"),
    *(
        "ssh:///srv",
        "ssh://",
        "ssh://host:x/srv",
        "ssh://host:22x/srv",
        "ssh://a b/srv",
        "ssh://host;x/srv",
        "ssh://$(x)/srv",
    ),
    *(
        "ssh://`x`/srv",
        "ssh://ho'st/srv",
        "ssh://h\u043est/srv",
        "ssh://host\\x/srv",
        "ssh://a@b@c/srv",
        "ssh://host/a%0ab",
    ),
    *(
        "file://host/srv",
        "file://localhost/srv",
        "file://",
        "file:///srv/%00x",
        "file:///srv/%0a",
        "file:///srv/%1b[2J",
        "file:x/y:z" + "\n",
    ),
    *(
        "ftp://host/x",
        "javascript://x/y",
        "data://x",
        "rsync://h/x",
        "FILE:///srv",
        "HTTP://host/x",
        "x+ssh://h/x",
        "git+ssh://h/x",
    ),
    *(
        "://host/x",
        "ssh ://host/x",
        "http:///x",
        "git://host:22:22/x",
        "git://ho%0ast/x",
        "https://me:p%0a@host/x",
    ),
]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_invalid_names(name: str) -> None:
    with pytest.raises(RemoteError):
        check_name(name)


def test_valid_names() -> None:
    for name in ("team", "a", "0", "a-b_c.d", "x" * 64, "refs", "HEAD"):
        assert check_name(name) == name


@pytest.mark.parametrize("text", GOOD)
def test_valid_addresses(text: str) -> None:
    url = parse_address(text, HERE)
    assert url == GOOD[text]
    assert parse_address(url, Path("/")) == url, "it is read from the settings again"
    assert scheme_of(url) in ("file", "ssh", "git", "http", "https")


@pytest.mark.parametrize("text", BAD)
def test_invalid_addresses(text: str) -> None:
    with pytest.raises(RemoteError) as caught:
        parse_address(text, HERE)
    assert str(caught.value).isprintable()


def test_a_folder_is_decoded_as_by_git(tmp_path: Path) -> None:
    """Git decodes URLs, so prov must check and create the folder that git opens."""
    for name in ("50%20off", "a b", "%2e%2e", "100%", "%"):
        made = tmp_path / name
        subprocess.run(["git", "init", "-q", "--bare", made], check=True)
        url = parse_address(str(made), HERE)
        assert folder_of(url) == made
        subprocess.run(["git", "ls-remote", url], check=True, capture_output=True)
    assert folder_of("file:///srv/%2e%2e/x") == Path("/srv/../x")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_the_owner_of_the_decoded_folder_counts(tmp_path: Path) -> None:
    """A path that leaves the user's folder only after git decodes it must not be trusted."""
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    os.chown(foreign, 12345, 12345)
    (tmp_path / "own").mkdir()
    assert default_trust(f"file://{tmp_path}/own/%2e%2e/foreign") == "keys"
    assert default_trust(f"file://{tmp_path}/own/new") == "none"


def test_no_password_is_shown() -> None:
    assert without_password("https://me:secret@host/x") == "https://me:…@host/x"


def test_injected_commands_never_run(tmp_path: Path) -> None:
    """Run `prov remote add` and refresh the remote, with a trap in place of each program that git
    could start.
    """
    project = Project(tmp_path / "project")
    project.write("prov.toml", "")
    traps = tmp_path / "traps"
    traps.mkdir()
    for name in (
        "git-remote-ext",
        "git-remote-fd",
        "git-remote-a",
        "git-remote-transport",
        "git-remote-ftp",
    ):
        (traps / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/canary\n")
        (traps / name).chmod(0o755)
    (traps / "ssh").write_text(
        f"#!/bin/sh\nfor word; do case $word in *canary*|-oX*) touch {tmp_path}/canary;; esac;"
        " done\nexit 255\n"
    )
    (traps / "ssh").chmod(0o755)
    environment = os.environ | {"PATH": f"{traps}:{os.environ['PATH']}", "GIT_TERMINAL_PROMPT": "0"}

    def prov(*arguments: str, code: int) -> str:
        done = run_prov(*arguments, cwd=project.root, environment=environment)
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stderr

    prov("init", code=0)
    canary = f"touch {tmp_path}/canary"
    hostile = [
        *(
            f"ext::sh -c {canary}",
            "ssh://-oProxyCommand=touch%20canary/x",
            f"ssh://%2doProxyCommand={canary}@host/x",
        ),
        *("host:-oXcanary", "a::b", "file://host/etc", "/srv/a\nb"),
    ]
    for url in hostile:
        prov("remote", "add", "team", "--trust", "none", "--", url, code=1)
    prov("remote", "add", "--trust", "none", "team", f"--upload-pack={canary}", code=2)
    prov("remote", "add", "--trust", "none", "--", "-oProxyCommand=x", "/srv/x", code=1)
    # settings written by an attacker are rejected by prov when read, or by git
    git = ["git", f"--git-dir={project.root}/.prov", "config"]
    for url in hostile[:-1]:
        subprocess.run([*git, "prov-remote.team.url", url], check=True)
        prov("remote", "list", "--refresh", code=1)
    subprocess.run([*git, "prov-remote.team.url", "ssh://host/x"], check=True)
    assert "team" in prov("remote", "list", "--refresh", code=1)
    assert not (tmp_path / "canary").exists() and not (project.root / "canary").exists()
