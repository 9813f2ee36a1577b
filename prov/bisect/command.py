"""The command that judges: how it is run, and what its exit status says."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence

from prov.bisect.search import Verdict
from prov.errors import ProvError

SKIP = 125
"""git's: the exit status that says that it can't be told."""
NOT_FOUND = (126, 127)
"""What a shell ends with that can't run a program, or find it."""
STDERR = 2


def check_command(command: Sequence[str]) -> None:
    """Raise ProvError where there is no such program."""
    if shutil.which(command[0]) is None:
        raise ProvError(
            f"{command[0]} is no program that can be run",
            hint="name one by its path, as in ./test.sh",
        )


def run_command(command: Sequence[str]) -> int:
    """Run a command on the caller's terminal and return its exit status; what it prints is no
    answer: standard error.

    Raises ProvError where it can't be run.
    """
    try:
        return subprocess.run(command, check=False, stdout=STDERR).returncode
    except OSError as error:
        hint = (
            "it can be named by its path, as in ./test.sh; if it is a script, its first line names"
            " a program"
        )
        raise ProvError(f"{command[0]} can't be run: {error.strerror}", hint=hint) from error


def verdict_of(code: int) -> Verdict:
    """Return what an exit status says.

    As with git, 128 and more, and signals, end the bisection: ProvError.
    """
    if code == 0:
        return "good"
    if code == SKIP:
        return "skip"
    if code >= 128 or code < 0:
        how = f"was ended by signal {-code}" if code < 0 else f"ended with {code}"
        raise ProvError(
            f"the command {how}, which is no verdict", hint="`prov bisect continue` asks again"
        )
    return "bad"
