"""Files that the user names for an answer."""

from __future__ import annotations

from pathlib import Path

from prov import files


def write_file(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; a device or a pipe is written to as it is."""
    if path.exists() and not path.is_file():
        path.write_bytes(data)
    else:
        files.replace_file(path.resolve(), data)  # of a link, what it leads to
