"""A recorded task's WORKDIR, put back for the user to look around in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prov.terminal import run_on_terminal


@dataclass(frozen=True, slots=True)
class Scene:
    """A WORKDIR that was put back, and how a command gets into it."""

    folder: Path
    """Where the command starts that `enter` returns."""
    environment: Mapping[str, str]
    enter: Callable[[Sequence[str]], Sequence[str]]
    """A command -> the command that runs it in the WORKDIR, as in a sandbox."""
    shell: Callable[[], list[str]]
    """Returns the command of an interactive shell. Raises StoreError if there is none."""
    notes: Sequence[str] = ()
    """What the user should know."""

    def run(self, command: Sequence[str]) -> int:
        """Run a command and return its exit status, as a shell has it: 128 and more for a signal.

        See `run_on_terminal` for its standard streams.
        """
        status = run_on_terminal(self.enter(command), cwd=self.folder, env=self.environment)
        return 128 - status if status < 0 else status
