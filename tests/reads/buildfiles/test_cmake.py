"""CMakeCache.txt. The lines are from CMake 3.25."""

from __future__ import annotations

import pytest

from prov.reads.buildfiles.cmake import parse_cmake_cache

CACHE = b"""# This is the CMakeCache file.
//Path to a program.
CMAKE_DLLTOOL:FILEPATH=CMAKE_DLLTOOL-NOTFOUND
//Doxygen
DOXYGEN_EXECUTABLE:FILEPATH=DOXYGEN_EXECUTABLE-NOTFOUND
Nowhere_DIR:PATH=Nowhere_DIR-NOTFOUND
PKG_CONFIG_EXECUTABLE:FILEPATH=/usr/bin/pkg-config
PNG_PNG_INCLUDE_DIR:PATH=PNG_PNG_INCLUDE_DIR-NOTFOUND
ZLIB_LIBRARY_DEBUG:FILEPATH=ZLIB_LIBRARY_DEBUG-NOTFOUND
ZLIB_LIBRARY_RELEASE:FILEPATH=/usr/lib/x86_64-linux-gnu/libz.so
FOO_CFLAGS:INTERNAL=
FOO_FOUND:INTERNAL=
FOO_STATIC_PREFIX:INTERNAL=
FOO_foo-1.0_PREFIX:INTERNAL=
BAR_FOUND:INTERNAL=1
BAR_bar_PREFIX:INTERNAL=/usr
HAVE_LIBM:INTERNAL=1
HAVE_STDIO_H:INTERNAL=1
HAVE_ZLIB_H:INTERNAL=
demo_BINARY_DIR:STATIC=/build
"""


def test_cmake_cache() -> None:
    found = [f"{'+' if own.is_found else '-'} {own.name}" for own in parse_cmake_cache(CACHE)]
    assert found == [
        *("- Nowhere", "- PNG_PNG", "+ ZLIB"),
        *("+ stdio.h", "- zlib.h"),
        *("+ bar", "- foo-1.0"),
        *("- doxygen", "+ pkg-config"),
    ]


@pytest.mark.parametrize("data", [b"", b"\xff=", b"A_DIR:PATH=", b":PATH=/usr", b"_PREFIX:PATH=x"])
def test_other_texts(data: bytes) -> None:
    assert parse_cmake_cache(data) == []
