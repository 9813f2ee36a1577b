"""Build directories that use only OE-core's classes for shared state and sysroots.

The recipes are in fixtures/bitbake/meta-staged; sstate.bbclass, staging.bbclass and native.bbclass
come from OECORE_DIR. A build takes seconds, and root can run it: there is no toolchain, no pseudo,
and nothing is fetched.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.bitbake.story import BITBAKE_DIR, META, BuildDirectory

META_STAGED = META.with_name("meta-staged")
OECORE_DIR = os.environ.get("OECORE_DIR", "")
BBLAYERS = (
    'BBPATH = "${{TOPDIR}}"\nBBFILES ?= ""\nOECORE_DIR = "{}"\nBBLAYERS ='
    ' "${{TOPDIR}}/meta-staged"\n'
)
RECIPES = ("app", "base", "tool-native", "words-native")
STARTED = re.compile(r"NOTE: recipe (\S+)-[^-\s]+-r0: task (do_\w+): Started")
SUMMARY = re.compile(r"Attempted (\d+) tasks of which (\d+) didn't need to be rerun")

live = pytest.mark.skipif(
    not (BITBAKE_DIR and OECORE_DIR), reason="BITBAKE_DIR or OECORE_DIR is not set"
)
"""Mark of tests that run BitBake with OE-core's classes."""


class Level(IntEnum):
    """prov's features in a build. Each level includes the ones before it."""

    PLAIN = 0
    OBSERVED = 1
    CACHE = 2
    SYSROOTS = 3


SWITCHES = {Level.CACHE: 'PROV_CACHE = "1"', Level.SYSROOTS: 'PROV_SYSROOTS = "1"'}


class Entry(NamedTuple):
    """An entry of a tree."""

    mode: str
    """Type and mode as in `ls -l`."""
    content: str
    """Content of a file, or target of a symlink, with the build directory replaced by @TOP@."""
    mtime: int | None
    """In nanoseconds. None for entries created in each sysroot: directories, symlinks,
    and files that contain the build directory.
    """
    links: tuple[str, ...]
    """All paths of the file if it has several hardlinks, including its own."""


Tree = dict[str, Entry]


class Staged(BuildDirectory):
    """A build directory whose default target is `app`."""

    def make(self, *, layer: bool = True, level: Level = Level.OBSERVED) -> Staged:
        shutil.copytree(META_STAGED, self.root / "meta-staged")
        self.write("conf/bblayers.conf", BBLAYERS.format(OECORE_DIR))
        self.write("conf/local.conf", "require conf/level.conf\n")
        self.switch(level if layer else Level.PLAIN)
        return self

    def switch(self, level: Level) -> None:
        """Enable prov's features up to a level."""
        self.prov("bitbake", "setup", ".", *(() if level else ("--undo",)))
        self.write(
            "conf/level.conf",
            "".join(f"{line}\n" for each, line in SWITCHES.items() if level >= each),
        )

    def build(self, *arguments: str, conf: str = "", code: int = 0) -> str:
        """Build `app` or the given targets, and return BitBake's output.

        `conf` holds additional lines of local.conf for this build. A line such as
        `do_install:append:pn-words-native = "    true"` adds one line to a task; a backslash and n
        in it are not a newline.
        """
        self.write("conf/once.conf", conf + "\n")
        return self.bitbake("-R", "conf/once.conf", *(arguments or ("app",)), code=code)

    def signatures(self, *targets: str, conf: str = "") -> str:
        """Return the hashes of all tasks in BitBake's format of locked signatures."""
        self.build("-S", "lockedsigs", *(targets or RECIPES), conf=conf)
        return (self.root / "locked-sigs.inc").read_text()

    @property
    def tmp(self) -> Path:
        return self.root / "tmp"

    @property
    def sstate(self) -> Path:
        return self.root / "sstate-cache"

    @property
    def components(self) -> Path:
        """Folder with the staged files of each recipe in ARCH/RECIPE."""
        return self.tmp / "sysroots-components"

    def component(self, recipe: str) -> Path:
        return self.components / ("x86_64" if recipe.endswith("-native") else "core") / recipe

    def workdir(self, recipe: str = "app", version: str = "*", tmp: str = "tmp") -> Path:
        (found,) = (self.root / tmp / "work").glob(f"*/{recipe}/{version}")
        return found

    def sysroot(self, recipe: str = "app") -> Path:
        return self.workdir(recipe) / "recipe-sysroot"

    def native_sysroot(self, recipe: str = "app") -> Path:
        return self.workdir(recipe) / "recipe-sysroot-native"

    def seen(self) -> str:
        """Return the listing of its sysroots that `app` wrote when it was compiled."""
        return (self.workdir() / "app-0.1/seen").read_text()

    def archives(self) -> set[str]:
        """Return the tasks that have an archive in SSTATE_DIR: recipe:task."""
        names = [path.name.split(":") for path in self.sstate.rglob("*.tar.zst")]
        return {
            f"{words[1]}:do_{words[-1].removesuffix('.tar.zst').partition('_')[2]}"
            for words in names
        }

    def lose(self, *folders: str) -> None:
        """Delete the given folders, by default TMPDIR and SSTATE_DIR."""
        for name in folders or ("tmp", "sstate-cache"):
            shutil.rmtree(self.root / name, ignore_errors=True)

    def tree(self, folder: Path, *without: str) -> Tree:
        """Return the entries below a folder by path, except `without`; none if it is missing."""
        left_out = {folder / name for name in without}
        paths = [
            path
            for path in (sorted(folder.rglob("*")) if folder.is_dir() else ())
            if left_out.isdisjoint((path, *path.parents))
        ]
        names: dict[int, list[str]] = {}
        for path in paths:
            if path.is_symlink() or not path.is_dir():
                names.setdefault(path.lstat().st_ino, []).append(str(path.relative_to(folder)))
        return {str(path.relative_to(folder)): self._entry(path, names) for path in paths}

    def _entry(self, path: Path, names: dict[int, list[str]]) -> Entry:
        state, content, mtime = path.lstat(), b"", None
        if stat.S_ISLNK(state.st_mode):
            content = os.readlink(os.fsencode(path))
        elif stat.S_ISREG(state.st_mode):
            content, mtime = path.read_bytes(), state.st_mtime_ns
        top = os.fsencode(self.root)
        text = content.replace(top, b"@TOP@").decode(errors="surrogateescape")
        links = tuple(names.get(state.st_ino, ()))
        return Entry(
            stat.filemode(state.st_mode),
            text,
            None if top in content else mtime,
            links if len(links) > 1 else (),
        )


def started(said: str) -> set[str]:
    """Return the tasks that BitBake reports as started: RECIPE:TASK, with `_setscene` if any."""
    return {f"{recipe}:{task}" for recipe, task in STARTED.findall(said)}


Directories = Callable[..., Staged]


@contextlib.contextmanager
def staged_below(top: Path) -> Iterator[Directories]:
    """Yield `make(name, level=Level.CACHE)`, which makes a build directory.

    At the end, stop the BitBake servers and delete all build directories.
    """
    made: list[Staged] = []

    def make(name: str = "build", *, level: Level = Level.OBSERVED) -> Staged:
        made.append(Staged(top / name))
        return made[-1].make(level=level)

    try:
        yield make
    finally:
        for each in made:
            each.stop()
            shutil.rmtree(each.root, ignore_errors=True)
