"""Write output files that the user names."""

from __future__ import annotations

from pathlib import Path

from prov import files


def write_file(path: Path, data: bytes) -> None:
    """Replace a file in one step; write directly to a device or a pipe."""
    if path.exists() and not path.is_file():
        path.write_bytes(data)
    else:
        files.replace_file(path.resolve(), data)  # replace the target of a link, not the link
