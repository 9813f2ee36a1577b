"""Tests of the interpreters of programs."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import pytest

from prov.reads.programs import HEAD_BYTES, interpreter


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"#!/bin/sh\necho", b"/bin/sh"),
        (b"#! /usr/bin/env python3 -I\n", b"/usr/bin/env"),
        (b"#!", None),
        (b"echo", None),
        (b"", None),
        (b"\x7fELF", None),
        (b"\x7fELF\x02\x01" + bytes(58), b""),
        (b"\x7fELF\x02\x01" + bytes(26) + struct.pack("<Q", 1 << 40) + b"\xff" * 30, None),
    ],
)
def test_interpreter(head: bytes, name: bytes | None) -> None:
    assert interpreter(head) == name


@pytest.mark.parametrize("is_64_bit", [True, False])
def test_loader_of_a_made_program(is_64_bit: bool) -> None:
    loader, order = b"/lib/ld.so\0", "<" if is_64_bit else ">"
    if is_64_bit:
        start = struct.pack("<IIQQQQQQ", 3, 0, 120, 0, 0, len(loader), 0, 0)
        ids = b"\x7fELF\x02\x01" + bytes(26) + struct.pack("<Q", 64) + bytes(14)
        head = ids + struct.pack(f"{order}HH", 56, 1)
        head = head.ljust(64, b"\0") + start
    else:
        start = struct.pack(">IIIIIIII", 3, 84, 0, 0, len(loader), 0, 0, 0)
        ids = b"\x7fELF\x01\x02" + bytes(22) + struct.pack(">I", 52) + bytes(10)
        head = (ids + struct.pack(">HH", 32, 1)).ljust(52, b"\0") + start
    assert interpreter(head + loader) == b"/lib/ld.so"


@pytest.mark.process
def test_loader_of_a_real_program() -> None:
    program = Path(sys.executable).resolve()
    name = interpreter(program.read_bytes()[:HEAD_BYTES])
    text = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    assert name
    assert name.decode() in text
