"""Depfiles of compilers, and ninja's copy of them."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prov.reads.buildfiles.depfile import Units, parse_depfile, parse_ninja_deps

AUTOMAKE = b"""src/main.o: src/main.c /usr/include/stdc-predef.h \\
 /usr/include/stdio.h src/greet.h
/usr/include/stdc-predef.h:
/usr/include/stdio.h:
src/greet.h:
"""


@pytest.mark.parametrize(
    ("data", "units"),
    [
        (b"# dummy\n", {}),
        (b"", {}),
        (b"a.o: a.c\n", {"a.o": ("a.c",)}),
        (b"a.o: a.c", {"a.o": ("a.c",)}),
        (b"a.o a.d : a.c b.h\r\n", {"a.o": ("a.c", "b.h"), "a.d": ("a.c", "b.h")}),
        (b"a.o: a\\ b.c \\#c.h d$$e.h\n", {"a.o": ("a b.c", "#c.h", "d$e.h")}),
        (b"a.o: a.c\\\n b.h \\\r\n c.h\n", {"a.o": ("a.c", "b.h", "c.h")}),
        (b"a.o: a.c\na.o: b.h\n", {"a.o": ("a.c", "b.h")}),
        (b"a.o: c:/x.h\n", {"a.o": ("c:/x.h",)}),
        (b"words without a rule\n", {}),
        (
            AUTOMAKE,
            {
                "src/main.o": (
                    *("src/main.c", "/usr/include/stdc-predef.h", "/usr/include/stdio.h"),
                    "src/greet.h",
                )
            },
        ),
    ],
)
def test_depfile(data: bytes, units: Units) -> None:
    assert parse_depfile(data) == units


def ninja(units: Units, version: int = 4) -> bytes:
    """Encode a .ninja_deps file, with each path before the record that needs it."""
    data = b"# ninjadeps\n" + struct.pack("<i", version)
    numbers: dict[str, int] = {}
    for made, read in units.items():
        for path in (made, *read):
            if path not in numbers:
                name = path.encode("utf-8", "surrogateescape")
                name += b"\0" * (-len(name) % 4)
                checksum = ~len(numbers) & 0xFFFFFFFF
                data += struct.pack("<I", len(name) + 4) + name + struct.pack("<I", checksum)
                numbers[path] = len(numbers)
        ids = [numbers[path] for path in read]
        mtime = [0] * (2 if version == 4 else 1)
        body = struct.pack(f"<{1 + len(mtime) + len(ids)}I", numbers[made], *mtime, *ids)
        data += struct.pack("<I", len(body) | 1 << 31) + body
    return data


REAL = bytes.fromhex(
    "23206e696e6a61646570730a04000000140000006d61696e2e702f6d61696e2e632e6f00ffffffff"
)
paths = st.text("ab/.é", min_size=1, max_size=9)


@given(st.dictionaries(paths, st.lists(paths, max_size=4).map(tuple)), st.sampled_from([3, 4]))
def test_ninja_deps(units: Units, version: int) -> None:
    data = ninja(units, version)
    assert parse_ninja_deps(data) == units
    # a torn file has the units before the damage
    torn = parse_ninja_deps(data[:-1])
    assert torn.items() <= units.items()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"# ninjadeps\n",
        b"# ninjadeps\n\x05\0\0\0" + b"\0" * 40,
        REAL,
        b"# ninjadeps\n\x04\0\0\0\x0c\0\0\x80" + b"\xff" * 12,
        b"# ninjadeps\n\x04\0\0\0\x04\0\0\x80" + b"\0" * 4,
    ],
)
def test_damaged_ninja_deps(data: bytes) -> None:
    assert parse_ninja_deps(data) == {}
