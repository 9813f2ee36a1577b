"""Complete and truncated requests on a connection."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from prov.bitbake.connection import HEADER, listen, read_body, read_header, send_answer
from prov.bitbake.messages import InvalidMessage


def sent(*pieces: bytes) -> socket.socket:
    """Return a connection on which a task sent data and then closed its side."""
    ours, theirs = socket.socketpair()
    with theirs:
        for piece in pieces:
            theirs.sendall(piece)
    return ours


@pytest.mark.parametrize("rest", [b"", b"body", b"two\nlines\n"])
def test_header_ends_with_the_first_line(rest: bytes) -> None:
    with sent(b'{"what": 1}\n', rest) as connection:
        line, start = read_header(connection)
        assert line == b'{"what": 1}'
        assert read_body(connection, start, len(rest)) == rest


@pytest.mark.parametrize("data", [b"", b"no end"])
def test_header_without_a_newline_is_rejected(data: bytes) -> None:
    with sent(data) as connection, pytest.raises(InvalidMessage, match="has no newline"):
        read_header(connection)


def test_short_body_is_rejected() -> None:
    with sent(b"56") as connection, pytest.raises(InvalidMessage, match="ends after 6 of 7 bytes"):
        read_body(connection, b"1234", 7)


def test_answer_is_one_line_and_closes_the_connection() -> None:
    ours, theirs = socket.socketpair()
    send_answer(ours, {"has": True})
    with theirs:
        assert json.loads(theirs.makefile().read()) == {"has": True}
    send_answer(ours, {})  # the task has exited


def test_socket_can_have_a_path_of_any_length(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    (folder / "socket").write_text("left by a killed writer\n")
    with listen(folder / "socket"):
        fd = os.open(folder, os.O_RDONLY)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as task:
            task.connect(f"/proc/self/fd/{fd}/socket")
        os.close(fd)
        assert (folder / "socket").stat().st_mode & 0o077 == 0
    assert HEADER > 1 << 16
