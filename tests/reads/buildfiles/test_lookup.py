"""The files that a lookup would find."""

from __future__ import annotations

import pytest

from prov.reads.buildfiles.lookup import ConfigureCheck, Subject


@pytest.mark.parametrize(
    ("subject", "name", "path"),
    [
        (Subject.HEADER, "sys/types.h", "usr/include/sys/types.h"),
        (Subject.LIBRARY, "z", "usr/lib/libz.so"),
        (Subject.PROGRAM, "doxygen", "usr/bin/doxygen"),
        (Subject.PKG_CONFIG, "zlib", "usr/lib/pkgconfig/zlib.pc"),
        (Subject.CMAKE, "ZLIB", "usr/lib/cmake/ZLIB/zlib-config.cmake"),
        (Subject.CMAKE, "ZLIB", "usr/lib/libzlib.so"),
    ],
)
def test_paths(subject: Subject, name: str, path: str) -> None:
    paths = ConfigureCheck(subject, name, False).paths()
    assert path in paths
    assert len(set(paths)) == len(paths)
