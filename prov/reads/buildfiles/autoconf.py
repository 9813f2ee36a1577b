"""Parse config.log and config.cache, which configure scripts of autoconf write.

config.log has `checking for NAME` and a result for each check. A check for a program differs from
one for a function in that no test program is compiled in between.
"""

from __future__ import annotations

import re

from prov.reads.buildfiles.lookup import ConfigureCheck, Subject

_STEP = re.compile(rb"configure:\d+: (.*)")
_CHECK = re.compile(rb"checking for (.+)")
_LIBRARY = re.compile(rb"\S+ in -l(\S+)")
_HEADER = re.compile(rb"[\w./+-]+\.(?:h|hh|hpp|hxx)")
_PROGRAM = re.compile(rb"[\w.+-]+")
_RESULT = re.compile(rb"result: (?:\(cached\) )?(.*)")
_PACKAGE = re.compile(rb"Package '?([^\s',]+)'?(?:,| was) .*not found")
_ASKED = re.compile(rb'\$PKG_CONFIG --exists --print-errors "(.*)"')
_COMPARED = re.compile(rb"[<>=!]+")
_CACHED = re.compile(rb"ac_cv_(header|lib)_(\w+)=\$\{\w+=(yes|no)\}")


def parse_config_log(data: bytes) -> list[ConfigureCheck]:
    """Return what a configure script looked for, sorted."""
    lookups: set[ConfigureCheck] = set()
    check, steps = b"", 0
    asked: list[str] = []
    for line in data.splitlines():
        package = _PACKAGE.match(line)
        if package is not None:
            lookups.add(ConfigureCheck(Subject.PKG_CONFIG, _text(package[1]), False))
        step = _STEP.match(line)
        if step is None:
            continue
        begun, result, question = (form.match(step[1]) for form in (_CHECK, _RESULT, _ASKED))
        if question is not None:
            asked = _packages(question[1])
        elif asked and step[1] == b"$? = 0":
            lookups.update(ConfigureCheck(Subject.PKG_CONFIG, name, True) for name in asked)
            asked = []
        if begun is not None:
            check, steps = begun[1], 0
        elif result is None:
            steps += not step[1].startswith(b"found ")
        elif check:
            lookups.update(_lookup(check, result[1], is_compiled=steps > 0))
            check = b""
    return sorted(lookups)


def _lookup(check: bytes, result: bytes, *, is_compiled: bool) -> list[ConfigureCheck]:
    """Return what one check looked for, if it is clear."""
    is_found = result != b"no"
    library = _LIBRARY.fullmatch(check)
    if library is not None:
        return [ConfigureCheck(Subject.LIBRARY, _text(library[1]), is_found)]
    if _HEADER.fullmatch(check):
        return [ConfigureCheck(Subject.HEADER, _text(check), is_found)]
    if not is_compiled and result != b"yes" and _PROGRAM.fullmatch(check):
        return [ConfigureCheck(Subject.PROGRAM, _text(check), is_found)]
    return []


def _packages(text: bytes) -> list[str]:
    """Return the names in pkg-config's list, such as `zlib >= 1.2 libpng`."""
    names, words = [], iter(text.split())
    for word in words:
        if _COMPARED.fullmatch(word):
            next(words, None)  # the version
        else:
            names.append(_text(word))
    return names


def parse_config_cache(data: bytes) -> list[ConfigureCheck]:
    """Return the headers and libraries that a config.cache contains, sorted.

    Names have `_` in place of `.` and `/`. A header whose name contains more of them can be in a
    folder, so both names are returned.
    """
    lookups = set()
    for kind, name, answer in _CACHED.findall(data):
        text, is_found = _text(name), answer == b"yes"
        if kind == b"lib":
            library = text.partition("_")[0]
            lookups.add(ConfigureCheck(Subject.LIBRARY, library, is_found))
        elif text.endswith("_h"):
            header = text.removesuffix("_h") + ".h"
            names = {header, header.replace("_", "/")}
            lookups.update(ConfigureCheck(Subject.HEADER, own, is_found) for own in names)
    return sorted(lookups)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")
