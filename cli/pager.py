"""The pager of long answers.

Like git, prov uses $GIT_PAGER, core.pager in git's configuration, $PAGER, or `less`, in this order.
Without a terminal, with `--no-pager`, or with the pager `cat`, prov prints directly.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from . import output

DEFAULTS = {"LESS": "FRX", "LV": "-c"}
"""Default environment of the pager, as in git: less shows colours, and exits if the text fits."""


def disable() -> None:
    """Print this command's answer without a pager."""
    os.environ["GIT_PAGER"] = "cat"


@contextmanager
def paged() -> Iterator[None]:
    """Send the answers printed inside this context through a pager, if stdout is a terminal."""
    command = pager_command(os.environ) if sys.stdout.isatty() else ""
    if not command:
        yield
        return
    sys.stdout.flush()
    with _started(command) as pipe, _replaced_stdout(pipe):
        yield


def pager_command(environment: Mapping[str, str]) -> str:
    """Return the shell command of the user's pager; empty for none."""
    command = environment.get("GIT_PAGER")
    if command is None:
        command = _configured() or environment.get("PAGER")
    if command is None:
        command = "less"
    return "" if command.strip() == "cat" else command.strip()


def _configured() -> str | None:
    """Return core.pager in git's configuration; None if unset."""
    done = subprocess.run(
        ["git", "config", "--get", "core.pager"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    return done.stdout.decode("utf-8", "replace").strip() if done.returncode == 0 else None


@contextmanager
def _started(command: str) -> Iterator[int]:
    """Yield the writing end of a pager's standard input; wait for the pager at the end."""
    process = subprocess.Popen(
        command, shell=True, stdin=subprocess.PIPE, env={**DEFAULTS, **os.environ}
    )
    assert process.stdin is not None
    try:
        yield process.stdin.fileno()
    finally:
        with suppress(BrokenPipeError):
            process.stdin.close()
        _wait(process)


def _wait(process: subprocess.Popen[bytes]) -> None:
    """Wait for the pager. Ignore ^C, which the pager handles: it runs until the user quits it."""
    while True:
        try:
            process.wait()
        except KeyboardInterrupt:
            continue
        return


@contextmanager
def _replaced_stdout(pipe: int) -> Iterator[None]:
    """Direct standard output to a pipe, with the colours of a terminal."""
    terminal = os.dup(1)
    os.dup2(pipe, 1)
    output.set_paged(True)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(terminal, 1)
        os.close(terminal)
        output.set_paged(False)
