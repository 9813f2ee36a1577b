"""Parse CMakeCache.txt: lines `NAME:TYPE=VALUE` for what was found, or `NAME-NOTFOUND`."""

from __future__ import annotations

import re
from collections.abc import Iterator

from prov.reads.buildfiles.lookup import ConfigureCheck, Subject

_LINE = re.compile(r"([^#/:=][^:=]*):(FILEPATH|PATH|INTERNAL)=(.*)")
_PARTS = re.compile(
    r"(\w+?)_(?:DIR|INCLUDE_DIRS?|LIBRARY|LIBRARIES|LIBRARY_RELEASE|LIBRARY_DEBUG|(EXECUTABLE))"
)
_HEADER = re.compile(r"HAVE_(\w+)_H")
_NOT_FOUND = "-NOTFOUND"
_OWN = "CMAKE"
"""The prefix of CMake's own variables."""


def parse_cmake_cache(data: bytes) -> list[ConfigureCheck]:
    """Return what a CMake project looked for, sorted."""
    values: dict[str, str] = {}
    kinds: dict[str, str] = {}
    for line in data.decode("utf-8", "backslashreplace").splitlines():
        match = _LINE.fullmatch(line)
        if match is not None:
            kinds[match[1]], values[match[1]] = match[2], match[3]
    lookups: dict[tuple[Subject, str], bool] = {}
    for subject, name, is_found in _results(values, kinds):
        # one of several variables of a package suffices
        lookups[subject, name] = is_found or lookups.get((subject, name), False)
    return sorted(ConfigureCheck(*names, is_found) for names, is_found in lookups.items())


def _results(values: dict[str, str], kinds: dict[str, str]) -> Iterator[tuple[Subject, str, bool]]:
    modules = _modules(values)
    for name, value in values.items():
        parts, header = _PARTS.fullmatch(name), _HEADER.fullmatch(name)
        if header is not None and kinds[name] == "INTERNAL":
            yield Subject.HEADER, f"{header[1].lower()}.h", value == "1"
        elif parts is None or kinds[name] == "INTERNAL" or parts[1].startswith(_OWN):
            continue
        elif value.startswith("/") or value.endswith(_NOT_FOUND):
            subject = Subject.PROGRAM if parts[2] else Subject.CMAKE
            text = parts[1].lower().replace("_", "-") if parts[2] else parts[1]
            yield subject, text, not value.endswith(_NOT_FOUND)
    for name, is_found in modules.items():
        yield Subject.PKG_CONFIG, name, is_found


def _modules(values: dict[str, str]) -> dict[str, bool]:
    """Return the packages that pkg_check_modules looked for; `P_NAME_PREFIX` contains the name."""
    modules = {}
    for name in values:
        prefix, separator, rest = name.partition("_")
        if separator and f"{prefix}_FOUND" in values and rest.endswith("_PREFIX"):
            modules[rest.removesuffix("_PREFIX")] = values[f"{prefix}_FOUND"] == "1"
    modules.pop("STATIC", None)
    return modules
