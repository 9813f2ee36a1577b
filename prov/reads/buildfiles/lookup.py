"""What a configure script looked for: a header, a library, a program or a package."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class Subject(StrEnum):
    """What was looked for."""

    HEADER = "header"
    LIBRARY = "library"
    PROGRAM = "program"
    PKG_CONFIG = "pkg-config package"
    CMAKE = "CMake package"


@dataclass(frozen=True, slots=True, order=True)
class ConfigureCheck:
    """One subject, and whether it was found."""

    subject: Subject
    name: str
    """As the tool names it: `zlib.h`, `z`, `doxygen`, `zlib`, `ZLIB`."""
    is_found: bool

    def paths(self) -> tuple[str, ...]:
        """Return the files that would be found, relative to a sysroot."""
        return tuple(_paths(self.subject, self.name))


_LIBRARIES = ("usr/lib", "lib", "usr/lib64", "lib64")
_PROGRAMS = ("usr/bin", "bin", "usr/sbin", "sbin")


def _paths(subject: Subject, name: str) -> Iterator[str]:
    if subject == Subject.HEADER:
        yield f"usr/include/{name}"
    elif subject == Subject.LIBRARY:
        for folder in _LIBRARIES:
            yield from (f"{folder}/lib{name}.so", f"{folder}/lib{name}.a")
    elif subject == Subject.PROGRAM:
        yield from (f"{folder}/{name}" for folder in _PROGRAMS)
    elif subject == Subject.PKG_CONFIG:
        for folder in ("usr/lib", "usr/lib64", "usr/share"):
            yield f"{folder}/pkgconfig/{name}.pc"
    else:
        for folder in ("usr/lib", "usr/lib64", "usr/share"):
            yield f"{folder}/cmake/{name}/{name}Config.cmake"
            yield f"{folder}/cmake/{name}/{name.lower()}-config.cmake"
        # modules such as FindZLIB.cmake search for the library itself
        yield from _paths(Subject.PKG_CONFIG, name.lower())
        yield from _paths(Subject.LIBRARY, name.lower())
