"""Find the files that the kernel reads to execute a program: interpreters and loaders."""

from __future__ import annotations

import struct

HEAD_BYTES = 1 << 16
"""The number of bytes at the start of a program that name its interpreter."""
_PT_INTERP = 3


def interpreter(head: bytes) -> bytes | None:
    """Return the interpreter that the start of an executable file names.

    Returns b"" for a static program, and None if the format is unknown.
    """
    if head.startswith(b"#!"):
        words = head[2:].split(b"\n", 1)[0].split()
        return words[0] if words else None
    if not head.startswith(b"\x7fELF") or len(head) < 64:
        return None
    is_64_bit = head[4] == 2
    order = "<" if head[5] == 1 else ">"
    try:
        return _loader(head, order, is_64_bit=is_64_bit)
    except struct.error:
        return None


def _loader(head: bytes, order: str, *, is_64_bit: bool) -> bytes:
    """Return the path in the program header PT_INTERP (elf(5)), or b""."""
    if is_64_bit:
        (start,) = struct.unpack_from(f"{order}Q", head, 32)
        size, count = struct.unpack_from(f"{order}HH", head, 54)
    else:
        (start,) = struct.unpack_from(f"{order}I", head, 28)
        size, count = struct.unpack_from(f"{order}HH", head, 42)
    for number in range(count):
        at = start + number * size
        (kind,) = struct.unpack_from(f"{order}I", head, at)
        if kind != _PT_INTERP:
            continue
        if is_64_bit:
            (offset,) = struct.unpack_from(f"{order}Q", head, at + 8)
            (length,) = struct.unpack_from(f"{order}Q", head, at + 32)
        else:
            (offset,) = struct.unpack_from(f"{order}I", head, at + 4)
            (length,) = struct.unpack_from(f"{order}I", head, at + 16)
        return head[offset : offset + length].rstrip(b"\0")
    return b""
