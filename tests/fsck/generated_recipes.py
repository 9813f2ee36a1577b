"""Recipes of a generated store: their inputs, and the results of their tasks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, cast

from prov.store.objects import (
    MODE_EXECUTABLE,
    MODE_FILE,
    MODE_SYMLINK,
)
from prov.worktree.placer import EPOCH_NS
from tests.fsck.generated_folders import File, Folder, Objects, merged, with_items

FIRST_BUILD = 1_700_000_000
"""Start of the first build, in seconds since the epoch."""
MACHINE = "qemux86-64"
VERSION = "1.0"
TOOLS = ("gcc", "ld", "make", "sh", "sed", "install")
REMEMBERED = 30
"""Number of a task's results that a reverted change may reuse."""
TASKS = (
    "fetch",
    "unpack",
    "patch",
    "configure",
    "compile",
    "install",
    "populate_sysroot",
    "package",
    "package_deb",
)
AFTER = {"patch": "unpack", "configure": "patch", "compile": "configure", "install": "compile"}
FROM = {
    "unpack": "fetch",
    "populate_sysroot": "install",
    "package": "install",
    "package_deb": "package",
}
WITH_SYSROOT = ("configure", "compile", "install")
OUTPUTDIRS = {
    "fetch": ["sources"],
    "install": ["image"],
    "populate_sysroot": ["sysroot-destdir"],
    "package": ["packages-split", "pkgdata/{name}"],
    "package_deb": ["deploy-deb"],
    "image": ["rootfs", "manifest"],
}
C_FILES = ("main", "parse", "format", "table", "util")
PLAIN_FILES = ("README", "COPYING", "configure", "Makefile.in", "man/{name}.1", "etc/{name}.conf")
TABLES = 3
IMAGE = "image:image"


class Source(NamedTuple):
    """A source file: numbers that stand for its content. A comment does not change the program."""

    code: int = 0
    comment: int = 0
    broken: bool = False


@dataclass(slots=True, eq=False)
class Recipe:
    """The current state of a recipe."""

    name: str
    depends: tuple[Recipe, ...] = ()
    static: bool = False
    """Whether its program contains the libraries that it needs, and so changes with them."""
    sources: dict[str, Source] = field(default_factory=dict)
    variables: dict[str, int] = field(
        default_factory=lambda: {"CFLAGS": 0, "EXTRA_OECONF": 0, "DESCRIPTION": 0}
    )
    patches: dict[str, int] = field(default_factory=dict)
    """Patched source file -> number of the patch."""

    @property
    def folder(self) -> str:
        return f"{self.name}-{VERSION}"

    def code(self, path: str) -> tuple[object, ...]:
        """Return the part of a source file that a compiler sees."""
        return self.name, path, self.sources[path].code, self.patches.get(path)


def noise(*parts: object, size: int = 160) -> bytes:
    """Return bytes that stand for a compiler's output and change with any of its inputs."""
    return hashlib.shake_128(repr(parts).encode()).digest(size)


def source_text(recipe: Recipe, path: str, *, patched: bool = False) -> bytes:
    source = recipe.sources[path]
    lines = [
        f"/* {recipe.name}: {path}",
        f" * comment {source.comment}",
        " */",
        f'#include "{recipe.name}.h"',
        "",
    ]
    for number in range(6):
        value = source.code if number == 3 else number
        lines += [
            f"int {recipe.name}_{number}(int given)",
            "{",
            f"    return given * {value + 17};",
            "}",
            "",
        ]
    if source.broken:
        lines.append("int broken(")
    if patched and path in recipe.patches:
        lines.append(f"int fixed_{recipe.patches[path]};")
    return "".join(f"{line}\n" for line in lines).encode()


class Made(NamedTuple):
    """The result of a task: WORKDIR, output folders (None if it failed) and log."""

    workdir: Folder
    output: Folder | None
    log: str


@dataclass(slots=True)
class Taken:
    """The start of a task: WORKDIR, outputs in its sysroot, and time in nanoseconds."""

    start: Folder
    needs: list[Folder]
    now: int
    compiler: int


class Bodies:
    """The tasks' scripts, one method each: from the start to the result."""

    def __init__(self, objects: Objects) -> None:
        self.objects = objects

    def run(self, recipe: Recipe, task: str, taken: Taken) -> Made:
        made: Made = getattr(self, task)(recipe, taken)
        return made

    def sources(self, recipe: Recipe) -> Folder:
        """Return the folder of sources of a recipe."""
        files = {path: self.objects.file(source_text(recipe, path)) for path in recipe.sources}
        folder = with_items(Folder(mtime=EPOCH_NS), files)
        folder.entries["configure"] = cast(File, folder.entries["configure"])._replace(
            mode=MODE_EXECUTABLE
        )
        return folder

    def patch_files(self, recipe: Recipe) -> dict[str, File]:
        """Return the patches by their names in the WORKDIR."""
        files = {}
        for number, (path, which) in enumerate(sorted(recipe.patches.items()), 1):
            text = f"--- a/{path}\n+++ b/{path}\n@@ -35,0 +35,1 @@\n+int fixed_{which};\n"
            files[f"{number:04}-fix-{which}.patch"] = self.objects.file(text.encode())
        return files

    def fetch(self, recipe: Recipe, taken: Taken) -> Made:
        inside = Folder({recipe.folder: self.sources(recipe)}, EPOCH_NS)
        workdir = with_items(taken.start, {"sources": inside})
        return Made(workdir, Folder({"sources": inside}), "")

    def unpack(self, recipe: Recipe, taken: Taken) -> Made:
        unpacked = taken.start.folder(f"sources/{recipe.folder}")
        return Made(with_items(taken.start, {recipe.folder: unpacked}), Folder(), "")

    def patch(self, recipe: Recipe, taken: Taken) -> Made:
        items: dict[str, File | Folder] = {
            f"patches/{name}": file for name, file in self.patch_files(recipe).items()
        }
        log = "".join(f"applying {path.partition('/')[2]}\n" for path in items)
        for path in recipe.patches:
            text = source_text(recipe, path, patched=True)
            items[f"{recipe.folder}/{path}"] = self.objects.file(text, mtime=taken.now)
        return Made(with_items(taken.start, items, taken.now), Folder(), log)

    def configure(self, recipe: Recipe, taken: Taken) -> Made:
        option = f"--with-level={recipe.variables['EXTRA_OECONF']}"
        config = (
            f'#define PACKAGE "{recipe.name}"\n#define LEVEL {recipe.variables["EXTRA_OECONF"]}\n'
        )
        texts = {
            "config.h": (
                config
                + "".join(f"#define HAVE_{other.name.upper()} 1\n" for other in recipe.depends)
            ),
            "config.status": f"#! /bin/sh\n# {option}\nexec ./configure {option}\n",
            "Makefile": (
                f"all: lib{recipe.name}.so.1 {recipe.name}\n"
                + "".join(f"# {name}.o\n" for name in C_FILES)
            ),
        }
        items = {
            f"{recipe.folder}/{name}": self.objects.file(text.encode())
            for name, text in texts.items()
        }
        later = {path: file._replace(mtime=taken.now) for path, file in items.items()}
        log = f"checking for gcc... gcc 12.{taken.compiler}\n"
        log += "".join(f"checking for {other.name}... yes\n" for other in recipe.depends)
        return Made(
            with_items(taken.start, later, taken.now), Folder(), f"./configure {option}\n{log}"
        )

    def compile(self, recipe: Recipe, taken: Taken) -> Made:
        headers = [taken_in.folder("usr/include").entries for taken_in in taken.needs]
        config = cast(File, taken.start.at(f"{recipe.folder}/config.h")).oid
        every = (
            config,
            recipe.variables["CFLAGS"],
            taken.compiler,
            recipe.code(f"include/{recipe.name}.h"),
        )
        seen = [
            sorted((name, cast(File, file).oid) for name, file in each.items()) for each in headers
        ]
        made: dict[str, tuple[bytes, int]] = {}
        log = ""
        for name in C_FILES:
            path = f"src/{name}.c"
            log += f"gcc -O2 -DFLAG={recipe.variables['CFLAGS']} -c {path}\n"
            if recipe.sources[path].broken:
                log += f"{path}:35:12: error: expected declaration specifiers\n"
                log += f"make: *** [Makefile:5: {name}.o] Error 1\n"
                return Made(self._compiled(recipe, taken, made), None, log)
            made[f"src/{name}.o"] = noise("object", recipe.code(path), every, seen), MODE_FILE
        linked = [content for content, _ in made.values()]
        libraries = [
            cast(File, each.at(f"usr/lib/lib{other.name}.a")).oid
            for other, each in zip(recipe.depends, taken.needs, strict=True)
            if recipe.static
        ]
        made[f"lib{recipe.name}.a"] = b"!<arch>\n" + noise("archive", linked, size=400), MODE_FILE
        made[f"lib{recipe.name}.so.1"] = (
            b"\x7fELF" + noise("library", linked, size=400),
            MODE_EXECUTABLE,
        )
        made[recipe.name] = (
            b"\x7fELF" + noise("program", linked, libraries, size=400),
            MODE_EXECUTABLE,
        )
        return Made(self._compiled(recipe, taken, made), Folder(), log + f"gcc -o {recipe.name}\n")

    def _compiled(
        self, recipe: Recipe, taken: Taken, made: Mapping[str, tuple[bytes, int]]
    ) -> Folder:
        items = {
            f"{recipe.folder}/{path}": self.objects.file(content, mode, taken.now)
            for path, (content, mode) in made.items()
        }
        return with_items(taken.start, items, taken.now)

    def install(self, recipe: Recipe, taken: Taken) -> Made:
        name, built = recipe.name, taken.start.folder(recipe.folder)
        where = {
            f"usr/bin/{name}": name,
            f"usr/lib/lib{name}.so.1": f"lib{name}.so.1",
            f"usr/lib/lib{name}.a": f"lib{name}.a",
            f"usr/include/{name}.h": f"include/{name}.h",
            f"usr/share/doc/{name}/README": "README",
            f"usr/share/doc/{name}/COPYING": "COPYING",
            f"usr/share/man/man1/{name}.1": f"man/{name}.1",
            f"etc/{name}.conf": f"etc/{name}.conf",
        }
        where |= {
            f"usr/share/{name}/table-{number}": f"data/table-{number}" for number in range(TABLES)
        }
        items = {
            path: cast(File, built.at(source))._replace(mtime=taken.now)
            for path, source in where.items()
        }
        items[f"usr/lib/lib{name}.so"] = self.objects.file(
            f"lib{name}.so.1".encode(), MODE_SYMLINK, taken.now
        )
        config = f"prefix=/usr\nName: {name}\nVersion: 1\nLibs: -l{name}\n".encode()
        items[f"usr/lib/pkgconfig/{name}.pc"] = self.objects.file(config, mtime=taken.now)
        image = with_items(Folder(mtime=taken.now), items, taken.now)
        log = "".join(f"install -D {source} {path}\n" for path, source in where.items())
        return Made(
            with_items(taken.start, {"image": image}, taken.now), Folder({"image": image}), log
        )

    def populate_sysroot(self, recipe: Recipe, taken: Taken) -> Made:
        usr = taken.start.folder("image/usr")
        kept: dict[str, File | Folder] = {
            f"usr/{name}": usr.entries[name] for name in ("bin", "include", "lib")
        }
        kept[f"usr/share/{recipe.name}"] = usr.at(f"share/{recipe.name}")
        sysroot = with_items(Folder(mtime=taken.now), kept, taken.now)
        workdir = with_items(taken.start, {"sysroot-destdir": sysroot})
        return Made(workdir, Folder({"sysroot-destdir": sysroot}), "")

    def package(self, recipe: Recipe, taken: Taken) -> Made:
        name, image = recipe.name, taken.start.folder("image")
        parts = {
            name: (
                f"usr/bin/{name}",
                f"usr/lib/lib{name}.so.1",
                f"usr/share/{name}",
                f"etc/{name}.conf",
            ),
            f"{name}-dev": (f"usr/include/{name}.h", f"usr/lib/lib{name}.so", "usr/lib/pkgconfig"),
            f"{name}-staticdev": (f"usr/lib/lib{name}.a",),
            f"{name}-doc": (f"usr/share/doc/{name}", "usr/share/man"),
        }
        items = {
            f"{part}/{path}": image.at(path) for part, paths in parts.items() for path in paths
        }
        split = with_items(Folder(mtime=taken.now), items, taken.now)
        needs = ", ".join(f'"{other.name}"' for other in recipe.depends)
        data = self.objects.file(
            f'{{"{name}": {{"needs": [{needs}]}}}}\n'.encode(), mtime=taken.now
        )
        pkgdata = with_items(Folder(mtime=taken.now), {f"{name}/packages.json": data}, taken.now)
        gives: dict[str, File | Folder] = {"packages-split": split, "pkgdata": pkgdata}
        log = "".join(f"{part}: {len(paths)} entries\n" for part, paths in parts.items())
        return Made(with_items(taken.start, gives), Folder(gives), log)

    def package_deb(self, recipe: Recipe, taken: Taken) -> Made:
        items: dict[str, File | Folder] = {}
        for part, folder in taken.start.folder("packages-split").entries.items():
            control = (
                f"Package: {part}\nVersion: 1\nDescription: number"
                f" {recipe.variables['DESCRIPTION']}\n".encode()
            )
            packed = noise(control, self.objects.tree(cast(Folder, folder)), size=300)
            items[f"packages-split/{part}/DEBIAN/control"] = self.objects.file(
                control, mtime=taken.now
            )
            deb = self.objects.file(b"!<arch>\ndebian-binary   " + packed, mtime=taken.now)
            items[f"deploy-deb/deb/{part}_1_amd64.deb"] = deb
        workdir = with_items(taken.start, items, taken.now)
        log = "".join(f"{path}\n" for path in items if path.endswith(".deb"))
        return Made(workdir, Folder({"deploy-deb": workdir.folder("deploy-deb")}), log)

    def image(self, taken: Taken, packages: Mapping[str, Folder]) -> Made:
        """Run the image's only task; `packages` are unpacked into it."""
        status = "".join(
            f"Package: {name}\nStatus: install ok installed\nVersion: 1\n\n" for name in packages
        )
        names = "".join(f"{name} 1\n" for name in packages)
        root = merged(list(packages.values()))
        root = with_items(root, {"var/lib/dpkg/status": self.objects.file(status.encode())})
        manifest = Folder(
            {"packages": self.objects.file(names.encode(), mtime=taken.now)}, taken.now
        )
        gives: dict[str, File | Folder] = {"rootfs": root, "manifest": manifest}
        return Made(
            with_items(taken.start, gives),
            Folder(gives),
            "".join(f"unpacking {name}\n" for name in packages),
        )
