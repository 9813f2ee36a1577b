"""The command lines of a git that transfers: it does nothing else, and runs no other program.

The user's configuration applies, apart from what is forced here: see `access`.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from prov.store.git import git_environment, git_program
from prov.transport.access import PATIENCE, ask_git
from prov.transport.address import SCHEMES
from prov.transport.errors import Declined

_FORCED = {
    "protocol.allow": "never",
    **{f"protocol.{scheme}.allow": "always" for scheme in SCHEMES},
    "protocol.version": "2",
    "core.hooksPath": os.devnull,
    "core.alternateRefsCommand": "true",  # the store's refs are many, and nobody's business
    "gc.auto": "0",
    "maintenance.auto": "false",
    "fetch.unpackLimit": "1",
    "transfer.fsckObjects": "true",
    "fetch.recurseSubmodules": "false",
    "push.recurseSubmodules": "no",
    "push.followTags": "false",
    "push.gpgSign": "false",
    "http.lowSpeedLimit": "100",
    "http.lowSpeedTime": str(int(PATIENCE)),
    "http.followRedirects": "initial",
}
_IN_A_FOLDER = (
    f"core.hooksPath={os.devnull}",
    "core.alternateRefsCommand=true",
    "core.fsmonitor=false",
    "receive.autogc=false",
    "receive.denyCurrentBranch=refuse",
)
"""Settings of the git that takes a push in a folder of this machine: it runs as this user, and no
program of the folder's. It does not see the settings of the git that sends.
"""
_STREAMING = "core.bigFileThreshold=16m"
"""Larger files are streamed; a push without it compares them with earlier ones."""
SENDING_BY_VARIABLE = "GIT_PROTOCOL=version=2 git-upload-pack"
"""The command of a server that sends: by it, an ssh server needs no setting of sshd's to use the
protocol that has objects by their ids.
"""


def transfer_command(git_dir: Path, arguments: Sequence[str]) -> list[str]:
    """Return the command that transfers between a repository and a remote."""
    settings = ["safe.directory=*", *(f"{name}={value}" for name, value in _FORCED.items())]
    if "fetch" in arguments:
        settings.append(_STREAMING)
    options = [word for setting in settings for word in ("-c", setting)]
    return [git_program(), *options, f"--git-dir={git_dir}", *arguments]


def sending_command() -> str:
    """Return the command that sends from a folder of this machine, and streams large files."""
    return shlex.join([git_program(), "-c", _STREAMING, "upload-pack"])


def receiving_command(remote: str, folder: Path) -> str:
    """Return the command that takes a push in a folder of this machine.

    Raises Declined for a folder whose configuration names hooks, which newer versions of git run
    and none can disable.
    """
    file = f"--file={folder / 'config'}"
    question = ["config", file, "--includes", "--name-only", "--get-regexp", r"^hook\."]
    hooks = ask_git(question, git_environment()).split()
    if hooks:
        raise Declined(
            remote,
            f"{folder / 'config'} sets {hooks[0]}, a hook that would run here",
            hint="remove it, or publish there by ssh",
        )
    options = [word for setting in _IN_A_FOLDER for word in ("-c", setting)]
    return shlex.join([git_program(), *options, "receive-pack"])
