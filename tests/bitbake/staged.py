"""A build directory whose recipes use OE-core's own classes for shared state and sysroots, and
little else of it.

fixtures/bitbake/meta-staged has the recipes; sstate.bbclass, staging.bbclass and native.bbclass
come from OECORE_DIR. A build takes seconds, and root may run it: there is no toolchain, no pseudo,
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
"""Of tests that run BitBake with OE-core's classes."""


class Level(IntEnum):
    """How much prov does in a build; each with all before it."""

    PLAIN = 0
    OBSERVED = 1
    CACHE = 2
    SYSROOTS = 3


SWITCHES = {Level.CACHE: 'PROV_CACHE = "1"', Level.SYSROOTS: 'PROV_SYSROOTS = "1"'}


class Entry(NamedTuple):
    """What a path in a tree is."""

    mode: str
    """As in `ls -l`."""
    content: str
    """Of a file, or where a symlink points; the build directory is @TOP@ in it."""
    mtime: int | None
    """In nanoseconds. None of directories and symlinks, which everybody makes anew, and of files
    with the build directory in them: those are written where they stand.
    """
    links: tuple[str, ...]
    """All names of the file in the tree if there are several, its own among them."""


Tree = dict[str, Entry]


class Staged(BuildDirectory):
    """A build directory; `app` is what is built in it."""

    def make(self, *, layer: bool = True, level: Level = Level.OBSERVED) -> Staged:
        shutil.copytree(META_STAGED, self.root / "meta-staged")
        self.write("conf/bblayers.conf", BBLAYERS.format(OECORE_DIR))
        self.write("conf/local.conf", "require conf/level.conf\n")
        self.switch(level if layer else Level.PLAIN)
        return self

    def switch(self, level: Level) -> None:
        """Let prov do so much from now on."""
        self.prov("bitbake", "setup", ".", *(() if level else ("--undo",)))
        self.write(
            "conf/level.conf",
            "".join(f"{line}\n" for each, line in SWITCHES.items() if level >= each),
        )

    def build(self, *arguments: str, conf: str = "", code: int = 0) -> str:
        """Build, `app` if nothing is named; return what BitBake says. `conf` is lines of local.conf
        for this once.

        `do_install:append:pn-words-native = "    true"` adds a line to a task; a backslash and n do
        not make another.
        """
        self.write("conf/once.conf", conf + "\n")
        return self.bitbake("-R", "conf/once.conf", *(arguments or ("app",)), code=code)

    def signatures(self, *targets: str, conf: str = "") -> str:
        """Return the hashes of all tasks, as BitBake writes them to lock them."""
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
        """What do_populate_sysroot gave, a folder for each recipe: ARCH/RECIPE."""
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
        """Return what `app` found in its sysroots when it was compiled, paths and all."""
        return (self.workdir() / "app-0.1/seen").read_text()

    def archives(self) -> set[str]:
        """Return the tasks that have an archive in SSTATE_DIR: recipe:task."""
        names = [path.name.split(":") for path in self.sstate.rglob("*.tar.zst")]
        return {
            f"{words[1]}:do_{words[-1].removesuffix('.tar.zst').partition('_')[2]}"
            for words in names
        }

    def lose(self, *folders: str) -> None:
        """Lose TMPDIR and SSTATE_DIR, or what is named."""
        for name in folders or ("tmp", "sstate-cache"):
            shutil.rmtree(self.root / name, ignore_errors=True)

    def tree(self, folder: Path, *without: str) -> Tree:
        """Return path -> what it is, of all below a folder but for some names in it; nothing if
        there is none.
        """
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
    """Return the tasks that BitBake says it started, `_setscene` and all: RECIPE:TASK."""
    return {f"{recipe}:{task}" for recipe, task in STARTED.findall(said)}


Directories = Callable[..., Staged]


@contextlib.contextmanager
def staged_below(top: Path) -> Iterator[Directories]:
    """`make(name, level=Level.CACHE)`: a build directory.

    All go afterwards, and BitBake's servers in them.
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
