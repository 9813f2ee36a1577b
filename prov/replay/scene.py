"""A restored WORKDIR of a recorded task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prov.terminal import run_on_terminal


@dataclass(frozen=True, slots=True)
class Scene:
    """A restored WORKDIR, and how to run commands in it."""

    folder: Path
    """Start directory of the command that `enter` returns."""
    environment: Mapping[str, str]
    enter: Callable[[Sequence[str]], Sequence[str]]
    """Returns the command that runs a command in the WORKDIR, for example in a sandbox."""
    shell: Callable[[], list[str]]
    """Returns the command of an interactive shell. Raises StoreError if there is none."""
    notes: Sequence[str] = ()
    """Notes for the user."""

    def run(self, command: Sequence[str]) -> int:
        """Run a command and return its exit status, 128 plus the number for a signal, like a shell.

        See `run_on_terminal` for its standard streams.
        """
        status = run_on_terminal(self.enter(command), cwd=self.folder, env=self.environment)
        return 128 - status if status < 0 else status
