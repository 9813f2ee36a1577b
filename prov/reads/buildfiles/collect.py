"""Collect what build tools state in the files of a recorded WORKDIR.

Only the names of files are looked at, and only files with matching names are read.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from prov.reads.buildfiles.autoconf import parse_config_cache, parse_config_log
from prov.reads.buildfiles.cmake import parse_cmake_cache
from prov.reads.buildfiles.depfile import Units, parse_depfile, parse_ninja_deps
from prov.reads.buildfiles.lookup import ConfigureCheck
from prov.reads.buildfiles.meson import parse_meson_log
from prov.store.objects import MODE_DIRECTORY, MODE_EXECUTABLE, MODE_FILE, Oid, unescape_name
from prov.worktree.attributes import TreeReader

_LOGS: Final[Mapping[bytes, Callable[[bytes], list[ConfigureCheck]]]] = {
    b"config.log": parse_config_log,
    b"config.cache": parse_config_cache,
    b"CMakeCache.txt": parse_cmake_cache,
    b"meson-log.txt": parse_meson_log,
}
_NINJA_DEPS = b".ninja_deps"
_DEPFILES = (b".d", b".Po", b".Plo", b".Tpo")


@dataclass(frozen=True, slots=True)
class Stated:
    """A lookup, and the file that states it."""

    file: str
    """Path in the WORKDIR."""
    lookup: ConfigureCheck


@dataclass(frozen=True, slots=True)
class Unit:
    """A compilation unit: a made file, and the files read to make it.

    Paths in the WORKDIR are relative to it, other paths are absolute.
    """

    made: str
    read: tuple[str, ...]
    file: str
    """The file that states it."""

    @property
    def source(self) -> str:
        """The compiled file, which compilers list first; empty if nothing was read."""
        return self.read[0] if self.read else ""


@dataclass(slots=True)
class BuildFiles:
    """The files of build tools in a WORKDIR."""

    reader: TreeReader
    top: Oid
    workdir: str
    """The absolute path of the WORKDIR, as the tools saw it; empty if it is unknown."""
    _read: dict[Oid, dict[bytes, tuple[int, Oid]]] = field(default_factory=dict)

    def lookups(self) -> Iterator[Stated]:
        """Yield what configure scripts looked for."""
        for path, oid in self._files(lambda name: name in _LOGS):
            for lookup in _LOGS[os.path.basename(path)](self.reader.blob(oid)):
                yield Stated(os.fsdecode(path), lookup)

    def units(self) -> Iterator[Unit]:
        """Yield the compilation units of which a file is left."""
        for path, oid in self._files(lambda name: name.endswith(_DEPFILES) or name == _NINJA_DEPS):
            data = self.reader.blob(oid)
            is_ninja = os.path.basename(path) == _NINJA_DEPS
            units = parse_ninja_deps(data) if is_ninja else parse_depfile(data)
            yield from self._resolved(os.fsdecode(path), units)

    def _files(self, matches: Callable[[bytes], bool]) -> Iterator[tuple[bytes, Oid]]:
        """Yield path and blob of the files whose names match."""
        pending = [(b"", self.top)]
        while pending:
            prefix, tree = pending.pop()
            for entry in self.reader.tree(tree):
                name = unescape_name(entry.name)
                if entry.mode == MODE_DIRECTORY:
                    pending.append((prefix + name + b"/", entry.oid))
                elif entry.mode in (MODE_FILE, MODE_EXECUTABLE) and matches(name):
                    yield prefix + name, entry.oid

    def _resolved(self, file: str, units: Units) -> Iterator[Unit]:
        folder = posixpath.dirname(file)
        for made, read in units.items():
            base = self._base(folder, made, read[0]) if read else folder
            paths = (self._inside(base, path) for path in read)
            yield Unit(self._inside(base, made), tuple(paths), file)

    def _base(self, folder: str, made: str, source: str) -> str:
        """Return the folder to which paths in a file are relative: its own, or one above.

        That is where the compiler ran. The made file and its source exist there, unless they were
        deleted.
        """
        bases = [folder]
        while bases[-1]:
            bases.append(posixpath.dirname(bases[-1]))
        scores = {
            base: 2 * self._exists(self._inside(base, made))
            + self._exists(self._inside(base, source))
            for base in bases
        }
        return max(bases, key=lambda base: scores[base])

    def _inside(self, base: str, path: str) -> str:
        """Return a path relative to the WORKDIR if it is in it."""
        full = posixpath.normpath(posixpath.join(self.workdir or "/", base, path))
        if self.workdir and full.startswith(f"{self.workdir}/"):
            return full.removeprefix(f"{self.workdir}/")
        return full if self.workdir or path.startswith("/") else full.lstrip("/")

    def _exists(self, path: str) -> bool:
        """Return whether a path relative to the WORKDIR exists in it."""
        mode, tree = MODE_DIRECTORY, self.top
        for name in path.split("/"):
            if mode != MODE_DIRECTORY:
                return False
            mode, tree = self._entries(tree).get(os.fsencode(name), (0, tree))
        return mode != 0

    def _entries(self, tree: Oid) -> dict[bytes, tuple[int, Oid]]:
        """Return name -> mode and id of the entries of a folder."""
        if tree not in self._read:
            entries = self.reader.tree(tree)
            self._read[tree] = {unescape_name(name): (mode, oid) for name, mode, oid in entries}
        return self._read[tree]
