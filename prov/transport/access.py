"""Connect to remotes with the user's git settings.

Only this module reads the user's environment and git's system and global configuration, which hold
credentials, proxies and the ssh command. Code that reads a store ignores them; see
`prov.store.git`.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from prov.store.git import git_program
from prov.transport.address import SCHEMES

PATIENCE = 30.0
"""Seconds without a byte after which a remote times out."""
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
"""Variables that describe the caller's repository, for example in a git hook or alias; they are
removed.
"""


@dataclass(frozen=True, slots=True)
class Access:
    """The settings for connecting to remotes.

    The user's git settings apply: variables, system and global configuration, credential helpers,
    proxies and `url.….insteadOf`. Commands on a store read none of these.
    """

    environment: Mapping[str, str] = field(default_factory=dict)
    """The caller's environment."""
    interactive: bool = False
    """Whether git and ssh may prompt the user."""
    patience: float = PATIENCE
    """Timeout in seconds without a byte."""

    def variables(self) -> dict[str, str]:
        """Return the environment of a git command that transfers."""
        variables = {
            name: value for name, value in self.environment.items() if name not in _OF_A_REPOSITORY
        }
        variables |= {"LC_ALL": "C.UTF-8", "LANGUAGE": "", "GIT_ALLOW_PROTOCOL": self._protocols()}
        variables["GIT_NO_LAZY_FETCH"] = "1"
        if not self.interactive:
            variables |= {"GIT_TERMINAL_PROMPT": "0", "SSH_ASKPASS_REQUIRE": "never"}
            if not _has_ssh_command(frozenset(variables.items())):
                variables["GIT_SSH_COMMAND"] = _DEFAULT_SSH
        return variables

    def _protocols(self) -> str:
        """Return the protocols that both prov and the user's GIT_ALLOW_PROTOCOL allow."""
        allowed = self.environment.get("GIT_ALLOW_PROTOCOL")
        if allowed is None:
            return ":".join(SCHEMES)
        return ":".join(scheme for scheme in SCHEMES if scheme in allowed.split(":"))


def ask_git(arguments: Sequence[str], environment: Mapping[str, str]) -> str:
    """Return the output of a git command run outside any repository; "" if it fails."""
    command = [git_program(), f"--git-dir={os.devnull}", *arguments]
    answer = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    return answer.stdout.decode("utf-8", "surrogateescape")


@cache
def _has_ssh_command(variables: frozenset[tuple[str, str]]) -> bool:
    """Return whether a variable or git's configuration sets an ssh command."""
    environment = dict(variables)
    if environment.get("GIT_SSH_COMMAND") or environment.get("GIT_SSH"):
        return True
    return bool(ask_git(["config", "--get", "core.sshCommand"], environment).strip())


def resolved_url(url: str, access: Access) -> str:
    """Return the URL after the replacements of the user's `url.….insteadOf`."""
    return _resolved(url, frozenset(access.variables().items()))


@cache
def _resolved(url: str, variables: frozenset[tuple[str, str]]) -> str:
    arguments = ["ls-remote", "--get-url", "--end-of-options", url]
    return ask_git(arguments, dict(variables)).rstrip("\n") or url


_TLS_VARIABLES = {
    "sslcainfo": "GIT_SSL_CAINFO",
    "sslcert": "GIT_SSL_CERT",
    "sslkey": "GIT_SSL_KEY",
}
"""Setting below `http.` -> the variable that overrides it."""


def http_settings(url: str, access: Access) -> dict[str, str]:
    """Return git's `http.*` settings for a URL: lower-case name without `http.` -> value."""
    text = ask_git(["config", "--null", "--get-urlmatch", "http", url], access.variables())
    rows = (row.partition("\n") for row in text.split("\0") if row)
    settings = {name.removeprefix("http."): value for name, _, value in rows}
    for name, variable in _TLS_VARIABLES.items():
        if access.environment.get(variable):
            settings[name] = access.environment[variable]
    if access.environment.get("GIT_SSL_NO_VERIFY"):
        settings["sslverify"] = "false"
    return settings
