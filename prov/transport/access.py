"""How remotes are reached: with git as the user has set it up.

The user's variables and git's system and global configuration are read here and nowhere else:
credentials, proxies and the ssh command are in them. What reads a store sees none of it; see
`prov.store.git`.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

from prov.store.git import git_program
from prov.transport.address import SCHEMES

PATIENCE = 30.0
"""Seconds without a byte after which a remote is given up."""
_DEFAULT_SSH = "ssh -o BatchMode=yes -o ConnectTimeout=10"
_OF_A_REPOSITORY = (
    "GIT_DIR",
    "GIT_COMMON_DIR",
    "GIT_WORK_TREE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_PREFIX",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_QUARANTINE_PATH",
    "GIT_NAMESPACE",
    "GIT_SHALLOW_FILE",
    "GIT_GRAFT_FILE",
    "GIT_REPLACE_REF_BASE",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_CONFIG",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_DEFAULT_HASH",
    "GIT_DEFAULT_REF_FORMAT",
    "GIT_REF_PARANOIA",
)
"""Variables that describe the caller's repository, as in a hook or an alias of git's, not how to
reach others.
"""


@dataclass(frozen=True, slots=True)
class Access:
    """How remotes are reached: the caller's environment, and whether a user is there to answer a
    question.

    Transport is git as the user has set it up: variables, system and global configuration,
    credential helpers, proxies and `url.….insteadOf` apply. Nothing of that is read by commands
    that work on a store.
    """

    environment: Mapping[str, str] = field(default_factory=dict)
    interactive: bool = False
    patience: float = PATIENCE

    def variables(self) -> dict[str, str]:
        """Return the environment of a git that transfers."""
        kept = {
            name: value for name, value in self.environment.items() if name not in _OF_A_REPOSITORY
        }
        kept |= {"LC_ALL": "C.UTF-8", "LANGUAGE": "", "GIT_ALLOW_PROTOCOL": self._protocols()}
        kept["GIT_NO_LAZY_FETCH"] = "1"
        if not self.interactive:
            kept |= {"GIT_TERMINAL_PROMPT": "0", "SSH_ASKPASS_REQUIRE": "never"}
            if not _has_ssh_command(frozenset(kept.items())):
                kept["GIT_SSH_COMMAND"] = _DEFAULT_SSH
        return kept

    def _protocols(self) -> str:
        """Return the protocols that git may use: of those that prov supports, the ones that the
        user allows.
        """
        allowed = self.environment.get("GIT_ALLOW_PROTOCOL")
        return ":".join(each for each in SCHEMES if allowed is None or each in allowed.split(":"))


@cache
def _has_ssh_command(variables: frozenset[tuple[str, str]]) -> bool:
    """Return whether the user has chosen an ssh command, by a variable or in git's
    configuration.
    """
    environment = dict(variables)
    if environment.get("GIT_SSH_COMMAND") or environment.get("GIT_SSH"):
        return True
    command = [git_program(), f"--git-dir={os.devnull}", "config", "--get", "core.sshCommand"]
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    return bool(done.stdout.strip())


def resolved_url(url: str, access: Access) -> str:
    """Return the URL that git uses for one: the user's `url.….insteadOf` may replace its
    beginning.
    """
    return _resolved(url, frozenset(access.variables().items()))


@cache
def _resolved(url: str, variables: frozenset[tuple[str, str]]) -> str:
    command = [
        git_program(),
        f"--git-dir={os.devnull}",
        "ls-remote",
        "--get-url",
        "--end-of-options",
        url,
    ]
    done = subprocess.run(
        command,
        env=dict(variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.rstrip("\n") or url


def http_settings(url: str, access: Access) -> dict[str, str]:
    """Return the user's settings of git's for a URL: name below `http.`, in lower case -> value."""
    command = [
        git_program(),
        f"--git-dir={os.devnull}",
        "config",
        "--null",
        "--get-urlmatch",
        "http",
        url,
    ]
    done = subprocess.run(
        command,
        env=access.variables(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    rows = (row.partition("\n") for row in done.stdout.split("\0") if row)
    found = {name.removeprefix("http."): value for name, _, value in rows}
    for name, variable in (("sslcainfo", "CAINFO"), ("sslcert", "CERT"), ("sslkey", "KEY")):
        if access.environment.get(f"GIT_SSL_{variable}"):
            found[name] = access.environment[f"GIT_SSL_{variable}"]
    if access.environment.get("GIT_SSL_NO_VERIFY"):
        found["sslverify"] = "false"
    return found
