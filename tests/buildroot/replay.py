"""Replay recorded calls of Buildroot: change the files as each step did, and call prov."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prov.buildroot.call import StepCall
from tests.buildroot.real import EXTERNAL

CALLS = Path(__file__).parent / "calls.jsonl"
CONFIG = 'BR2_HAVE_DOT_CONFIG=y\nBR2_ARCH="x86_64"\nBR2_PACKAGE_GREET=y\nBR2_PACKAGE_WORDS=y\n'


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """A call, and the files that changed before it."""

    words: list[str]
    environment: dict[str, str]
    changes: dict[str, dict[str, Any] | None]

    @property
    def make(self) -> str:
        """The time and process id of its `make`."""
        return self.words[0].removeprefix("--make=")

    def replay(self, base: Path, pid: int) -> StepCall:
        """Change the files below `base`; return the call, made by the process `pid`."""
        for name, entry in self.changes.items():
            change(base / name, entry)
        words = [self.words[0].rpartition("-")[0] + f"-{pid}", *self.words[1:]]
        return StepCall.parse(words, self.environment)


def recorded_calls(base: Path, old: str = "", new: str = "") -> list[RecordedCall]:
    """Return all calls, for a build directory `base`, with `old` replaced by `new`."""
    text = CALLS.read_text().replace("@BASE@", str(base)).replace("@EXTERNAL@", str(EXTERNAL))
    if old:
        text = text.replace(old, new)
    return [RecordedCall(**json.loads(line)) for line in text.splitlines()]


def change(path: Path, entry: dict[str, Any] | None) -> None:
    """Create, replace or delete a path."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    if entry is None:
        if path.is_dir():
            shutil.rmtree(path)
    elif "link" in entry:
        path.symlink_to(entry["link"])
    elif "directory" in entry:
        path.mkdir(parents=True, exist_ok=True)
    else:
        path.write_text(entry["text"])
        os.chmod(path, entry["mode"])
