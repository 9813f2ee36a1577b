"""How to record a run of a command, and what is known when the command has ended."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from prov.errors import ProvError
from prov.records.ids import CommitId, OutputId
from prov.records.keys import TaskKey
from prov.records.output import Output
from prov.worktree.attributes import Pair
from prov.wrapped.builds import Member
from prov.wrapped.directory import Omissions

KEPT_ENVIRONMENT = (
    "PATH",
    "LANG",
    "LC_ALL",
    "TZ",
    "CC",
    "CXX",
    "CFLAGS",
    "CXXFLAGS",
    "LDFLAGS",
    "MAKEFLAGS",
)
"""The caller's variables to record. This is an allow-list, because others may contain secrets."""


@dataclass(frozen=True, slots=True)
class CommandStep:
    """How to record a run."""

    key: TaskKey
    build: str = ""
    """The label of the build that the run belongs to; empty: a build of its own."""
    outputs: tuple[str, ...] = ()
    """The output: folders relative to the directory. Without them, only the record is shared."""
    exclude: tuple[str, ...] = ()
    """gitignore patterns of paths to skip."""
    gitignore: bool = False
    """Whether to skip what git ignores, except for the output."""

    @staticmethod
    def parse(
        name: str,
        *,
        build: str = "",
        outputs: Sequence[str] = (),
        exclude: Sequence[str] = (),
        gitignore: bool = False,
    ) -> CommandStep:
        """Return the step with a user's name, label and folders. Raises ProvError."""
        folders = tuple(_output_path(text) for text in outputs)
        return CommandStep(TaskKey.parse(name), build, folders, tuple(exclude), gitignore)

    @property
    def omissions(self) -> Omissions:
        """Return which paths to skip."""
        return Omissions(self.exclude, self.gitignore, self.outputs)


@dataclass(frozen=True, slots=True)
class CommandRun:
    """A recorded run."""

    tag: str
    commit: CommitId
    build: CommitId
    """The build that lists the run."""
    code: int = 0
    """The command's exit status; 1 if only the output is missing."""
    problem: str = ""
    """Why the run failed although the command exited with 0."""


@dataclass(frozen=True, slots=True)
class Reuse:
    """The changes that a run made, for later runs."""

    changes: str
    """The changed paths, as `prov.wrapped.changes` encodes them."""
    output: Output | None = None
    """The changed entries, if they are to be shared."""


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that has ended."""

    command: str = ""
    """The command as text; empty for a capture, which runs none."""
    code: int = 0
    began: float = 0.0
    """Seconds since the epoch."""
    seconds: float = 0.0
    log: bytes = b""
    environment: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    """More facts for the record."""
    problem: str = ""
    """Why it failed, if it has no exit status."""
    inputs: Mapping[str, bytes | Mapping[str, bytes]] = field(default_factory=dict)
    """More inputs: texts, or folders of texts, by name."""
    needs: Mapping[TaskKey, OutputId] = field(default_factory=dict)
    """Outputs of other runs that it used."""
    sysroots: Mapping[str, Pair] = field(default_factory=dict)
    """The sysroots, without mtimes: `native` and `target`."""
    installed: Mapping[str, Pair] = field(default_factory=dict)
    """The content of output folders that are outside the directory."""
    reads: str = ""
    """The list of what the command read, if it was traced."""
    decisive: str = ""
    """Everything that decided the result, if a trace shows it: an input in place of the start."""
    reuse: Reuse | None = None
    """How later runs can make the same changes."""


@dataclass(frozen=True, slots=True)
class EndedRun:
    """A run recorded in no build yet."""

    member: Member
    commit: CommitId
    problem: str


def _output_path(text: str) -> str:
    path = os.path.normpath(text)
    if path.startswith(("/", "..")):
        raise ProvError(
            f"--output {text}: outside the recorded directory",
            hint="name a folder below it, such as image",
        )
    return "" if path == "." else path
