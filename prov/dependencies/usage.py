"""Find the packages that a task used, in a list of what it read.

A package is used if the task opened, executed or inspected one of its files, or a symbolic link of
it on the way to a different file. A folder can belong to several packages. Its use counts for all
of them if none is used otherwise, because the folder would not exist without them. The folders of
search paths do not count, since compilers look at each of them before they search.

This module is pure: packages are given with their entries.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from prov.reads.reads import Read, Reads
from prov.records.keys import TaskKey

MISSING, LISTED, READLINK = "m", "d", "l"
LISTED_ONLY = frozenset("d*")
"""Uses of a folder that programs such as find make of all folders."""
MOST_LINKS = 40
"""Symbolic links that Linux follows in one path."""
SEARCHED: Final = frozenset(
    f"{top}{name}"
    for top in ("", "usr/", "usr/local/")
    for name in (
        *("bin", "sbin", "lib", "lib32", "lib64", "libexec", "include", "share"),
        *("lib/pkgconfig", "lib64/pkgconfig", "share/pkgconfig", "lib/cmake", "share/cmake"),
        *("share/aclocal", "share/man", "share/doc", "share/info", "share/locale"),
    )
) | {"usr", "usr/local", "etc"}
"""Folders of search paths, relative to a sysroot."""


class Item(NamedTuple):
    """An entry of a package."""

    is_folder: bool = False
    target: str = ""
    """The target of a symbolic link; empty for other entries."""


@dataclass(frozen=True, slots=True)
class Places:
    """The absolute paths of a task's sysroots, as the task saw them."""

    target: tuple[str, ...]
    native: tuple[str, ...]
    is_sandboxed: bool

    def inside(self, path: str) -> tuple[bool, str] | None:
        """Return whether a path is in the native sysroot, and its path there; None outside both."""
        for is_native, places in ((False, self.target), (True, self.native)):
            for place in places:
                if path.startswith(f"{place}/"):
                    return is_native, path.removeprefix(f"{place}/")
        return None


NOWHERE = Places((), (), is_sandboxed=False)


@dataclass(frozen=True, slots=True)
class NeededPackage:
    """A package in the sysroots of a task."""

    key: TaskKey
    """The task whose output it is."""
    places: tuple[str, ...]
    """The absolute paths of its sysroot, as the task saw them; empty if they are unknown."""
    items: Mapping[str, Item]
    """Path relative to the sysroot -> entry."""


@dataclass(frozen=True, slots=True)
class Uses:
    """What a task used of the packages in its sysroots."""

    used: Mapping[TaskKey, tuple[Read, ...]]
    """Used package -> the uses, in the order of their paths."""
    listed: Mapping[TaskKey, str]
    """NeededUnused package -> a listed folder with files of the package."""
    missing: tuple[Read, ...]
    """Lookups that failed, with the paths after symbolic links were followed."""


def uses_of(packages: Sequence[NeededPackage], reads: Reads) -> Uses:
    """Return what a task used of its packages."""
    return _Usage(_StagedPaths.of(packages)).uses(reads)


@dataclass(slots=True)
class _StagedPaths:
    """The entries of all packages by their absolute paths."""

    owners: dict[str, list[TaskKey]] = field(default_factory=lambda: defaultdict(list))
    items: dict[str, Item] = field(default_factory=dict)
    tops: set[str] = field(default_factory=set)

    @staticmethod
    def of(packages: Sequence[NeededPackage]) -> _StagedPaths:
        sysroots = _StagedPaths()
        for package in packages:
            for place in package.places:
                sysroots.add(package, place)
        return sysroots

    def add(self, package: NeededPackage, place: str) -> None:
        self.tops.add(place)
        self.owners[place].append(package.key)
        self.items[place] = Item(is_folder=True)
        for path, item in package.items.items():
            self.owners[f"{place}/{path}"].append(package.key)
            self.items[f"{place}/{path}"] = item

    def is_searched(self, folder: str) -> bool:
        """Return whether a folder is a sysroot, or a search path below it."""
        return any(folder == top or folder.removeprefix(f"{top}/") in SEARCHED for top in self.tops)

    def visited(self, path: str, *, follows_last: bool) -> Iterator[str]:
        """Yield the symbolic links on the way to a path, a file on the way, and last the end."""
        pending = path.split("/")[::-1]
        at, links = "", 0
        while pending:
            name = pending.pop()
            if name in ("", "."):
                continue
            if name == "..":
                at = at.rpartition("/")[0]
                continue
            at = f"{at}/{name}"
            item = self.items.get(at)
            if item is None or item.is_folder:
                continue
            if not item.target:
                break  # a file; the rest of the path cannot exist
            if not pending and not follows_last:
                break
            yield at
            links += 1
            if links > MOST_LINKS:
                break
            pending += item.target.split("/")[::-1]
            at = "" if item.target.startswith("/") else at.rpartition("/")[0]
        yield at


@dataclass(slots=True)
class _Usage:
    sysroots: _StagedPaths
    used: dict[TaskKey, list[Read]] = field(default_factory=lambda: defaultdict(list))
    folders: list[tuple[str, Read]] = field(default_factory=list)
    """Used folders, with the use."""
    missing: list[Read] = field(default_factory=list)

    def uses(self, reads: Reads) -> Uses:
        for row in reads.rows:
            self.add(row)
        self.add_folders()
        used = {key: tuple(rows) for key, rows in self.used.items()}
        return Uses(used, self.listed(), tuple(self.missing))

    def add(self, row: Read) -> None:
        """Add the uses of one path."""
        *links, end = self.sysroots.visited(row.path, follows_last=row.kinds != READLINK)
        item = self.sysroots.items.get(end)
        if item is None and MISSING in row.kinds:
            self.missing.append(Read(end, row.kinds, row.state, row.programs))
        if row.kinds == MISSING and item is None:
            return  # the lookup fails without the links, too
        for link in links:
            self.use(link, row)
        if item is not None and item.is_folder:
            self.folders.append((end, row))
        else:
            self.use(end, row)

    def use(self, path: str, row: Read) -> None:
        for key in self.sysroots.owners.get(path, ()):
            self.used[key].append(row)

    def add_folders(self) -> None:
        """Add the uses of folders that exist only because of packages not used otherwise."""
        used = set(self.used)
        for folder, row in self.folders:
            if self.sysroots.is_searched(folder) or set(row.kinds) <= LISTED_ONLY:
                continue
            owners = self.sysroots.owners[folder]
            if used.isdisjoint(owners):
                self.use(folder, row)

    def listed(self) -> dict[TaskKey, str]:
        """Return the unused packages whose file names the task saw in a listed folder."""
        listed: dict[TaskKey, str] = {}
        for folder, row in self.folders:
            if LISTED not in row.kinds:
                continue
            for key in self.sysroots.owners[folder]:
                if key not in self.used:
                    listed.setdefault(key, folder)
        return listed
