"""Time whole commands in turns: wall time, processor time and peak memory of their processes."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple


def nothing() -> None:
    """Prepare nothing."""


@dataclass(frozen=True)
class Command:
    """A command to time; `prepare` runs before each run of it, and is not timed."""

    name: str
    words: Sequence[str | Path]
    cwd: Path | None = None
    prepare: Callable[[], None] = nothing


class Sample(NamedTuple):
    """One run of a command."""

    wall: float
    """Seconds."""
    processor: float
    """Seconds of user and system time of the process and of all descendants it waited for."""
    peak: float
    """Resident memory of the largest process, in MB."""


@dataclass
class Timing:
    """All runs of a command."""

    name: str
    samples: list[Sample] = field(default_factory=list)

    @property
    def wall(self) -> float:
        """The median in seconds."""
        return statistics.median(sample.wall for sample in self.samples)

    @property
    def processor(self) -> float:
        """The median in seconds."""
        return statistics.median(sample.processor for sample in self.samples)

    @property
    def peak(self) -> float:
        """The maximum in MB."""
        return max(sample.peak for sample in self.samples)


def environment() -> dict[str, str]:
    """Return the environment of timed commands: programs may write their byte code."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return others | {"LC_ALL": "C.UTF-8"}


def run_once(command: Command) -> Sample:
    """Run a command once. Exits with its output if it fails."""
    command.prepare()
    os.sync()  # earlier writes are not part of the time
    with tempfile.TemporaryFile() as output:
        begun = time.perf_counter()
        process = subprocess.Popen(
            [os.fspath(word) for word in command.words],
            cwd=command.cwd,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            text = output.read().decode("utf-8", "replace")[-2000:]
            sys.exit(f"{command.name} exited with {process.returncode}:\n{text}")
    return Sample(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def in_turns(commands: Sequence[Command], rounds: int) -> list[Timing]:
    """Run each command once per round, in turns, after a first round that is not counted.

    The first round fills the page cache and compiles Python's modules.
    """
    timings = [Timing(command.name) for command in commands]
    for number in range(rounds + 1):
        for command, timing in zip(commands, timings, strict=True):
            sample = run_once(command)
            if number:
                timing.samples.append(sample)
    return timings
