"""Output files are replaced in one step."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from prov_cli.outfile import write_file


def test_a_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "answer"
    write_file(path, b"one")
    write_file(path, b"two")
    assert path.read_bytes() == b"two"
    assert [entry.name for entry in tmp_path.iterdir()] == ["answer"]


def test_target_of_a_link_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "link").symlink_to("file")
    write_file(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"new"


def test_a_pipe_stays_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    thread = threading.Thread(target=write_file, args=(pipe, b"data"))
    thread.start()
    assert pipe.read_bytes() == b"data"
    thread.join()
    assert pipe.is_fifo()
