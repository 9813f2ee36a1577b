"""Parsers of the files in which build tools state what they looked for and read."""

from __future__ import annotations

from hypothesis import strategies as st

from prov.reads.buildfiles.autoconf import parse_config_cache, parse_config_log
from prov.reads.buildfiles.cmake import parse_cmake_cache
from prov.reads.buildfiles.depfile import parse_depfile, parse_ninja_deps
from prov.reads.buildfiles.meson import parse_meson_log
from prov.reads.buildfiles.object_files import member_names, source_names
from prov.sbom.contents import license_tags
from prov.sbom.licenses import expression
from tests.fuzz.parser import Parser
from tests.reads.buildfiles import test_autoconf, test_cmake, test_depfile, test_meson
from tests.reads.buildfiles.test_object_files import archive, elf

_NINJA = test_depfile.ninja({"main.o": ("main.c", "greet.h"), "greet.o": ("greet.c",)})


def _starts(*examples: bytes) -> st.SearchStrategy[bytes]:
    """Generate the beginnings of examples."""
    return st.sampled_from(examples).flatmap(
        lambda data: st.integers(0, len(data)).map(lambda end: data[:end])
    )


PARSERS = [
    Parser("config.log", parse_config_log, None, _starts(test_autoconf.LOG)),
    Parser("config.cache", parse_config_cache, None, _starts(test_autoconf.CACHE)),
    Parser("CMakeCache.txt", parse_cmake_cache, None, _starts(test_cmake.CACHE)),
    Parser("meson-log.txt", parse_meson_log, None, _starts(test_meson.LOG)),
    Parser("depfile", parse_depfile, None, _starts(test_depfile.AUTOMAKE, b"a.o b.o: a.c\n" * 3)),
    Parser("ELF symbols", source_names, None, _starts(elf("main.c"), elf("a.c", bits=32))),
    Parser("archive members", member_names, None, _starts(archive({"main.o": b"x"}))),
    Parser("ninja deps", parse_ninja_deps, None, _starts(_NINJA)),
    Parser(
        "license tags", license_tags, None, _starts(b"x SPDX-License-Identifier: MIT -->\n" * 3)
    ),
    Parser(
        "license expression",
        lambda data: expression(data.decode("latin-1")),
        None,
        _starts(b"(MIT & Zlib) | GPL-2.0+ WITH x", b"((((MIT)))) AND A"),
    ),
]
