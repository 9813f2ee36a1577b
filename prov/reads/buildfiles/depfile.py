"""Parse files in which compilers state what they read: `.d` and `.Po` files, and `.ninja_deps`.

A `.d` file is a makefile as `gcc -MD` writes it: `main.o: main.c greet.h`. Automake's `.Po` files
have the same form. Ninja reads `.d` files, deletes them, and keeps their content in `.ninja_deps`.
"""

from __future__ import annotations

import itertools
import re
import struct

Units = dict[str, tuple[str, ...]]
"""Path of a made file -> the files read to make it, as the depfile names them."""
_WORD = re.compile(rb"((?:\\[ #:\\]|\$\$|[^\s:]|:(?!\s|$))+)|(:)")
_ESCAPED = re.compile(rb"\\([ #:\\])|\$\$")
MOST_TARGETS = 100
"""Targets of a rule; compilers write few, and the result grows with targets times words."""
_NINJA = b"# ninjadeps\n"
_DEPS_RECORD = 1 << 31
_MTIME_SIZES = {3: 4, 4: 8}
"""Version of .ninja_deps -> bytes of the modification time in a record."""


def parse_depfile(data: bytes) -> Units:
    """Return the units in a `.d` or `.Po` file.

    Targets without prerequisites, which `gcc -MP` adds for each header, are left out.
    """
    parts: dict[str, list[tuple[str, ...]]] = {}
    for line in _logical_lines(data):
        targets, words = _rule(line)
        if words and len(targets) <= MOST_TARGETS:
            for target in targets:
                parts.setdefault(target, []).append(words)
    return {target: tuple(itertools.chain(*own)) for target, own in parts.items()}


def _rule(line: bytes) -> tuple[list[str], tuple[str, ...]]:
    """Return the targets and the prerequisites in a line; no targets if it is not a rule."""
    targets: list[str] | None = None
    words: list[str] = []
    for word, colon in _WORD.findall(line):
        if colon and targets is None:
            targets, words = words, []
        elif word:
            words.append(_unescaped(word))
    return targets or [], tuple(words)


def _logical_lines(data: bytes) -> list[bytes]:
    """Return lines without comments, each joined with the lines that continue it."""
    joined = re.sub(rb"\\\r?\n", b" ", data)
    return [line for line in joined.splitlines() if not line.lstrip().startswith(b"#")]


def _unescaped(word: bytes) -> str:
    plain = _ESCAPED.sub(lambda match: match[1] or b"$", word)
    return plain.decode("utf-8", "surrogateescape")


def parse_ninja_deps(data: bytes) -> Units:
    """Return the units in a `.ninja_deps` file, up to the first damaged record.

    Source of the format: the comment in ninja's src/deps_log.h.
    """
    units: Units = {}
    if not data.startswith(_NINJA) or len(data) < len(_NINJA) + 4:
        return units
    version = int.from_bytes(data[len(_NINJA) : len(_NINJA) + 4], "little")
    mtime_size = _MTIME_SIZES.get(version, 0)
    paths: list[str] = []
    at = len(_NINJA) + 4
    while mtime_size and at + 4 <= len(data):
        head = int.from_bytes(data[at : at + 4], "little")
        size = head & ~_DEPS_RECORD
        record = data[at + 4 : at + 4 + size]
        if len(record) < size or size % 4 or size < 4:
            break
        at += 4 + size
        if not head & _DEPS_RECORD:
            paths.append(record[:-4].rstrip(b"\0").decode("utf-8", "surrogateescape"))
            continue
        made, *read = struct.unpack(f"<{size // 4}I", record)
        read = read[mtime_size // 4 :]
        if max([made, *read]) >= len(paths):
            break
        units[paths[made]] = tuple(paths[number] for number in read)
    return units
