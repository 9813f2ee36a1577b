"""Tests of the files on disk."""

from __future__ import annotations

import os
from pathlib import Path

from prov.reads.disk import OnDisk


def test_files_on_disk(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    (tmp_path / "l").symlink_to("f")
    os.mkfifo(tmp_path / "fifo")
    files = OnDisk()
    link = files.lookup(bytes(tmp_path / "l"))
    assert link is not None
    assert (link.is_link, link.target) == (True, b"f")
    assert files.lookup(bytes(tmp_path / "none")) is None
    assert files.lookup(bytes(tmp_path / "f/x")) is None
    assert files.names(bytes(tmp_path)) == [b"f", b"fifo", b"l"]
    assert files.names(bytes(tmp_path / "f")) == []
    assert files.head(bytes(tmp_path / "f")) == b"x"
    assert files.head(bytes(tmp_path / "fifo")) == files.head(bytes(tmp_path)) == b""
