"""meson-log.txt. The lines are from Meson 1.0."""

from __future__ import annotations

from prov.reads.buildfiles.meson import parse_meson_log

LOG = b"""Build started at 2026-11-30
Run-time dependency zlib found: YES 1.2.13
Package 'nowhere', required by 'virtual:world', not found
Run-time dependency nowhere found: NO (tried pkgconfig and cmake)
Library lzma found: YES
Library missing found: NO
Program doxygen found: NO
Program sed found: YES (/usr/bin/sed)
         #error "Header 'zlib.h' could not be found"
Has header "zlib.h" : YES
Has header "nowhere.h" : NO (cached)
Checking for function "strerror" : YES
\xff
"""


def test_meson_log() -> None:
    found = [f"{'+' if own.is_found else '-'} {own.name}" for own in parse_meson_log(LOG)]
    assert found == [
        *("- nowhere.h", "+ zlib.h"),
        *("+ lzma", "- missing"),
        *("- nowhere", "+ zlib"),
        *("- doxygen", "+ sed"),
    ]


def test_other_texts() -> None:
    assert parse_meson_log(b"Library a found: MAYBE\nProgram found: NO\n") == []
