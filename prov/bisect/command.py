"""The command that judges: how it runs, and the verdict that its exit status means."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence

from prov.bisect.search import Verdict
from prov.errors import ProvError

SKIP = 125
"""The exit status for "cannot be judged", as in git."""
NOT_FOUND = (126, 127)
"""Exit statuses of a shell that cannot run a program, or find it."""
STDERR = 2


def check_command(command: Sequence[str]) -> None:
    """Raise ProvError if there is no such program."""
    if shutil.which(command[0]) is None:
        raise ProvError(
            f"{command[0]} is no program that can be run",
            hint="name one by its path, as in ./test.sh",
        )


def run_command(command: Sequence[str]) -> int:
    """Run a command on the caller's terminal and return its exit status.

    What it prints goes to standard error, since it is no answer of prov's. Raises ProvError if it
    cannot be run.
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
    """Return the verdict that an exit status means.

    As in git, 128 and more, and signals, end the bisection: raises ProvError.
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
