"""A call of Buildroot's instrumentation script: its words and its environment, as a value."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prov.errors import BuildrootError
from prov.records.keys import TaskKey
from prov.records.labels import check_label

VARIABLES = (
    "BASE_DIR",
    "BINARIES_DIR",
    "BR2_CONFIG",
    "BR2_VERSION_FULL",
    "BUILD_DIR",
    "HOST_DIR",
    "PARALLEL_JOBS",
    "PATH",
    "STAGING_DIR",
    "TARGET_DIR",
)
"""The variables to record. This is an allow-list, because others may contain secrets."""
BUILD = "PROV_BUILD"
"""The variable with the label of the build, if the caller of `make` has set it."""
_HINT = "run `prov buildroot setup DIR` to update the lines in local.mk"


@dataclass(frozen=True, slots=True)
class StepCall:
    """A call before or after a step."""

    words: tuple[str, ...]
    environment: Mapping[str, str]
    """The recorded variables, and PROV_BUILD."""
    is_start: bool
    key: TaskKey
    directory: Path
    """The package's build directory."""
    folder: Path
    """The folder of the package's makefile; a relative path if it is unknown."""
    needs: tuple[str, ...]
    """The packages that it depends on."""
    make: str
    """When its `make` started, and the id of that process: `20260102-030405-678`."""

    @property
    def build(self) -> str:
        """The label of the build."""
        return self.environment.get(BUILD) or f"buildroot-{self.make}"

    @property
    def pid(self) -> int:
        """The process id of its `make`; 0 if it is unknown."""
        digits = self.make.rpartition("-")[2]
        return int(digits) if digits.isdecimal() else 0

    @property
    def version(self) -> str:
        """The package's version, which is part of its build directory's name; or empty."""
        name = self.directory.name
        return name.removeprefix(f"{self.key.recipe}-") if name != self.key.recipe else ""

    @staticmethod
    def parse(words: Sequence[str], environment: Mapping[str, str]) -> StepCall:
        """Return the call with these words.

        The last three words are Buildroot's: `start` or `end`, the step, and the package. The
        others are options from local.mk. Raises BuildrootError, and ProvError for a name that
        cannot be part of a ref.
        """
        if len(words) < 3 or words[-3] not in ("start", "end"):
            raise BuildrootError(
                f"expected `start` or `end`, a step and a package, not {' '.join(words)!r}",
                hint=_HINT,
            )
        moment, step, package = words[-3:]
        pairs = (word.removeprefix("--").partition("=") for word in words[:-3])
        options = {name: value for name, _, value in pairs}
        directory = options.get("directory", "")
        if not os.path.isabs(directory):
            raise BuildrootError(
                f"{package}:{step}: the build directory {directory!r} is not an absolute path",
                hint=_HINT,
            )
        call = StepCall(
            tuple(words),
            {name: environment[name] for name in (*VARIABLES, BUILD) if name in environment},
            moment == "start",
            TaskKey.parse(f"{package}:{step}"),
            Path(directory),
            Path(options.get("package", "")),
            tuple(options.get("needs", "").split()),
            options.get("make", ""),
        )
        check_label(call.build)
        return call
