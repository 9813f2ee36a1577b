"""Build the command lines of git transfers, in which git runs no hooks or other programs.

The user's configuration applies, except for the settings in this module; see `access`.
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
    "core.alternateRefsCommand": "true",  # do not advertise the store's refs: many and private
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
"""Settings of the git command that receives a push in a local folder. It runs as this user, so it
must not run the folder's programs. It does not inherit the settings of the sending git command.
"""
_STREAMING = "core.bigFileThreshold=16m"
"""Stream larger files. A push does not use it, so that git computes deltas of them."""
SENDING_BY_VARIABLE = "GIT_PROTOCOL=version=2 git-upload-pack"
"""The upload-pack command for an ssh server that does not accept GIT_PROTOCOL: it selects
protocol version 2, which serves objects by id.
"""


def transfer_command(git_dir: Path, arguments: Sequence[str]) -> list[str]:
    """Return a git command that transfers between a repository and a remote."""
    settings = ["safe.directory=*", *(f"{name}={value}" for name, value in _FORCED.items())]
    if "fetch" in arguments:
        settings.append(_STREAMING)
    options = [word for setting in settings for word in ("-c", setting)]
    return [git_program(), *options, f"--git-dir={git_dir}", *arguments]


def sending_command() -> str:
    """Return the upload-pack command for a local folder, which streams large files."""
    return shlex.join([git_program(), "-c", _STREAMING, "upload-pack"])


def receiving_command(remote: str, folder: Path) -> str:
    """Return the receive-pack command for a local folder.

    Raises Declined if the folder's configuration sets hooks: newer versions of git run them, and no
    version can disable them.
    """
    file = f"--file={folder / 'config'}"
    question = ["config", file, "--includes", "--name-only", "--get-regexp", r"^hook\."]
    hooks = ask_git(question, git_environment()).split()
    if hooks:
        raise Declined(
            remote,
            f"{folder / 'config'} sets {hooks[0]}: the hook would run as your user",
            hint="remove the hook, or publish over ssh",
        )
    options = [word for setting in _IN_A_FOLDER for word in ("-c", setting)]
    return shlex.join([git_program(), *options, "receive-pack"])
