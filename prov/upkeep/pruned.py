"""The log of deleted refs: time, rule and ref."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from prov.files import naming, replace_file, sync_directory
from prov.store.objects import Oid
from prov.store.repository import Store


@dataclass(frozen=True, slots=True)
class Deletion:
    """A ref to delete, and the rule that requires it."""

    ref: str
    oid: Oid
    rule: str
    record: str = ""
    """The ref of the run's record, if the record remains."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """The file `pruned` of a store, with a line of time, rule and ref for each deletion."""

    store: Store
    most: int = 32 << 20
    """Maximum size in bytes. A larger file loses its older half."""

    @property
    def path(self) -> Path:
        return self.store.path / "pruned"

    def add(self, deletions: Iterable[Deletion], now: float) -> None:
        """Append lines durably, before refs are deleted. A line without a deletion is harmless."""
        if self.path.exists() and self.path.stat().st_size > self.most:
            lines = self.path.read_bytes().splitlines(keepends=True)
            replace_file(self.path, b"".join(lines[len(lines) // 2 :]))
        text = "".join(f"{now:.0f}\t{row.rule}\t{row.ref}\n" for row in deletions)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with naming(self.path), os.fdopen(os.open(self.path, flags, 0o644), "ab") as stream:
            stream.write(text.encode())
            stream.flush()
            os.fsync(stream.fileno())
        sync_directory(self.path.parent)

    def find(self, ref: str) -> tuple[int, str] | None:
        """Return the time (seconds since the epoch) and rule of a ref's last deletion, or None."""
        if not self.path.exists():
            return None
        end = f"\t{ref}".encode()
        with open(self.path, "rb") as stream:
            rows = [line.split(b"\t") for line in stream if line.rstrip(b"\n").endswith(end)]
        if not rows:
            return None
        # a crash may have left a partial line before the time
        seconds = re.search(rb"\d{0,12}$", rows[-1][0])
        if seconds is None:
            return None
        return int(seconds[0] or 0), rows[-1][1].decode("utf-8", "replace")

    def refs(self) -> set[str]:
        """Return all deleted refs."""
        if not self.path.exists():
            return set()
        return {line.rpartition("\t")[2] for line in self.path.read_text().splitlines()}
