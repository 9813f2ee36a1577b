"""Run the command that judges a tree, and map its exit status to a verdict."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence

from prov.bisect.search import Verdict
from prov.errors import ProvError

SKIP = 125
"""The exit status for a tree that cannot be judged, as in git."""
NOT_FOUND = (126, 127)
"""Exit statuses of a shell that cannot run or find a program."""
STDERR = 2


def check_command(command: Sequence[str]) -> None:
    """Raise ProvError if the program does not exist or is not executable."""
    if shutil.which(command[0]) is None:
        if os.sep in command[0] and os.path.isfile(command[0]):
            raise ProvError(
                f"cannot run {command[0]}: the file is not executable",
                hint=f"run `chmod +x {command[0]}`",
            )
        raise ProvError(
            f"cannot run {command[0]}: no such program",
            hint="use a path such as ./test.sh",
        )


def run_command(command: Sequence[str]) -> int:
    """Run a command on the caller's terminal and return its exit status.

    Its standard output is redirected to standard error, because it is not part of prov's answer.
    Raises ProvError if it cannot be run.
    """
    try:
        return subprocess.run(command, check=False, stdout=STDERR).returncode
    except OSError as error:
        hint = "use a path such as ./test.sh; check the interpreter in a script's first line"
        raise ProvError(f"cannot run {command[0]}: {error.strerror}", hint=hint) from error


def verdict_of(code: int) -> Verdict:
    """Return the verdict of an exit status.

    As in git, a signal or a status of 128 or more ends the bisection with ProvError.
    """
    if code == 0:
        return "good"
    if code == SKIP:
        return "skip"
    if code >= 128 or code < 0:
        how = f"was killed by signal {-code}" if code < 0 else f"exited with {code}"
        raise ProvError(
            f"no verdict: the command {how}",
            hint="run `prov bisect continue` to run the command again",
        )
    return "bad"
