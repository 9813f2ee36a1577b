"""Read the names of sources and objects in ELF files and archives."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_ELF, _ARCHIVE = b"\x7fELF", b"!<arch>\n"
_SYMBOL_TABLE, _FILE_SYMBOL = 2, 4
_HEADER_SIZE = 60
"""Bytes of a member's header in an archive (ar(5))."""


def source_names(data: bytes) -> frozenset[str]:
    """Return the names of the sources in an ELF file's symbol table; empty if it is stripped.

    Compilers write the name without folders. Source of the format: elf(5).
    """
    try:
        return frozenset(_file_symbols(data)) if data.startswith(_ELF) else frozenset()
    except (struct.error, IndexError, KeyError):
        return frozenset()  # damaged


@dataclass(frozen=True, slots=True)
class _Class:
    """The layout of a class of ELF files: formats for struct, and indexes of fields in them."""

    header: str
    section: str
    symbol: str
    info: int
    """Index of the field with a symbol's type."""


_CLASSES = {
    1: _Class("HHIIIIIHHHHHH", "10I", "IIIBBH", 3),
    2: _Class("HHIQQQIHHHHHH", "IIQQQQIIQQ", "IBBHQQ", 1),
}
_ORDERS = {1: "<", 2: ">"}
_SECTIONS_AT, _SECTION_COUNT = 5, 11
"""Indexes of fields in the header."""
_TYPE, _OFFSET, _SIZE, _LINK = 1, 4, 5, 6
"""Indexes of fields in a section's header."""


def _file_symbols(data: bytes) -> Iterator[str]:
    layout, order = _CLASSES[data[4]], _ORDERS[data[5]]
    header = struct.unpack_from(order + layout.header, data, 16)
    size = struct.calcsize(order + layout.section)
    places = (header[_SECTIONS_AT] + number * size for number in range(header[_SECTION_COUNT]))
    sections = [struct.unpack_from(order + layout.section, data, place) for place in places]
    for section in sections:
        if section[_TYPE] != _SYMBOL_TABLE:
            continue
        strings = sections[section[_LINK]][_OFFSET]
        table = data[section[_OFFSET] : section[_OFFSET] + section[_SIZE]]
        symbol_size = struct.calcsize(order + layout.symbol)
        table = table[: len(table) // symbol_size * symbol_size]
        for symbol in struct.iter_unpack(order + layout.symbol, table):
            if symbol[layout.info] & 15 == _FILE_SYMBOL:
                yield _string(data, strings + symbol[0])


def _string(data: bytes, begin: int) -> str:
    return data[begin : data.index(b"\0", begin)].decode("utf-8", "surrogateescape")


def member_names(data: bytes) -> frozenset[str]:
    """Return the names of the members of an archive; empty for other files."""
    return frozenset(_members(data)) if data.startswith(_ARCHIVE) else frozenset()


def _members(data: bytes) -> Iterator[str]:
    at, long_names = len(_ARCHIVE), b""
    while at + _HEADER_SIZE <= len(data):
        name, size = data[at : at + 16].rstrip(), data[at + 48 : at + 58].strip()
        if not size.isdigit():
            return  # damaged
        begin = at + _HEADER_SIZE
        if name == b"//":
            long_names = data[begin : begin + int(size)]
        elif name[:1] == b"/" and name[1:].isdigit():
            name = long_names[int(name[1:]) :].partition(b"/\n")[0]
            yield name.decode("utf-8", "surrogateescape")
        elif not name.startswith(b"/"):
            yield name.rstrip(b"/").decode("utf-8", "surrogateescape")
        at = begin + int(size) + int(size) % 2
