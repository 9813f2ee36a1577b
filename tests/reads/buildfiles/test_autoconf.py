"""config.log and config.cache. The texts are from autoconf 2.71."""

from __future__ import annotations

import pytest

from prov.reads.buildfiles.autoconf import parse_config_cache, parse_config_log
from prov.reads.buildfiles.lookup import ConfigureCheck

LOG = b"""configure:3128: checking for gcc
configure:3149: found /usr/bin/gcc
configure:3160: result: gcc
configure:4345: checking for stdio.h
configure:4345: result: (cached) yes
configure:4363: checking for missing/deep.h
configure:4363: gcc -c -g -O2  conftest.c >&5
conftest.c:54:10: fatal error: missing/deep.h: No such file or directory
configure:4363: $? = 1
configure: failed program was:
| /* confdefs.h */
configure:4363: result: no
configure:4370: checking for deflate in -lz
configure:4393: gcc -o conftest -g -O2   conftest.c -lz   >&5
configure:4393: $? = 0
configure:4403: result: yes
configure:4456: checking for library containing lzma_code
configure:4506: result: -llzma
configure:4517: checking for doxygen
configure:4550: result: no
configure:4560: checking for sed
configure:4583: found /usr/bin/sed
configure:4596: result: /usr/bin/sed
configure:4610: checking for no_such_function
configure:4610: gcc -o conftest -g -O2   conftest.c  >&5
configure:4610: $? = 1
configure:4610: result: no
configure:4749: checking for liblzma >= 5
configure:4756: $PKG_CONFIG --exists --print-errors "liblzma >= 5"
configure:4759: $? = 0
configure:4819: $PKG_CONFIG --exists --print-errors "zlib nowhere"
Package nowhere was not found in the pkg-config search path.
Perhaps you should add the directory containing `nowhere.pc'
Package 'nowhere', required by 'virtual:world', not found
configure:4822: $? = 1
configure:4973: result: done
"""
CACHE = b"""ac_cv_c_compiler_gnu=${ac_cv_c_compiler_gnu=yes}
ac_cv_env_CC_set=
ac_cv_header_missing_deep_h=${ac_cv_header_missing_deep_h=no}
ac_cv_header_zlib_h=${ac_cv_header_zlib_h=yes}
ac_cv_lib_z_deflate=${ac_cv_lib_z_deflate=no}
"""


def texts(lookups: list[ConfigureCheck]) -> list[str]:
    """Return lookups as texts that begin with `-` if nothing was found."""
    return [f"{'+' if own.is_found else '-'} {own.subject} {own.name}" for own in lookups]


def test_config_log() -> None:
    assert texts(parse_config_log(LOG)) == [
        "- header missing/deep.h",
        "+ header stdio.h",
        "+ library z",
        "+ pkg-config package liblzma",
        "- pkg-config package nowhere",
        "- program doxygen",
        "+ program gcc",
        "+ program sed",
    ]


def test_config_cache() -> None:
    assert texts(parse_config_cache(CACHE)) == [
        "- header missing/deep.h",
        "- header missing_deep.h",
        "+ header zlib.h",
        "- library z",
    ]


@pytest.mark.parametrize("data", [b"", b"\xff\n", b"configure:1: result: no\n", LOG[:100]])
def test_other_texts(data: bytes) -> None:
    assert texts(parse_config_log(data)) in ([], ["+ program gcc"])
    assert parse_config_cache(data) == []
