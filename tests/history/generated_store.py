"""A store as many builds leave it, without building anything: for tests and benchmarks of questions about history.

`make_store` plays the builds of a made-up project: recipes that need each other, whose sources, patches and variables
change from build to build, and an image of all of them. What each task makes is a function of its inputs, so that task
hashes, outputs, cut-offs and first parents come out as they would in builds. Objects are prov's own (`write_run`,
`task_hash`), written into a few large packs as `consolidate` leaves them; refs are written at the end as one
`packed-refs`. Nothing but the arguments decides what is in the store.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, cast

from prov.build.builds import Line, Span, encode_tasks
from prov.build.definition import FORMAT
from prov.build.record import (
    Output,
    Run,
    Start,
    author,
    empty_start,
    output_ref,
    static_ref,
    tag_prefix,
    workdir_ref,
    write_run,
)
from prov.build.taskhash import HashOnly, OwnInputs, task_hash
from prov.build.variables import Reached
from prov.files import replace_file
from prov.store.objects import (
    CONSTANT_IDENTITY,
    EMPTY_TREE,
    MODE_DIRECTORY,
    MODE_EXECUTABLE,
    MODE_FILE,
    MODE_SYMLINK,
    Commit,
    Entry,
    Kind,
    Oid,
    encode_tree,
    object_id,
)
from prov.store.odb import ObjectWriter
from prov.store.packs import PackStream
from prov.store.refs import BUILDS
from prov.store.repository import Store
from prov.worktree.attributes import BLOB_NAME, EMPTY, Pair, TreeWriter
from prov.worktree.place import EPOCH_NS

FIRST_BUILD = 1_700_000_000
"""When the first build begins, in seconds since the epoch."""
MACHINE = "qemux86-64"
VERSION = "1.0"
TOOLS = ("gcc", "ld", "make", "sh", "sed", "install")
REMEMBERED = 30
"""Results of a task that a change taken back may find again."""
TASKS = ("fetch", "unpack", "patch", "configure", "compile", "install", "populate_sysroot", "package", "package_deb")
_AFTER = {"patch": "unpack", "configure": "patch", "compile": "configure", "install": "compile"}
_FROM = {"unpack": "fetch", "populate_sysroot": "install", "package": "install", "package_deb": "package"}
_WITH_SYSROOT = ("configure", "compile", "install")
_OUTPUTDIRS = {
    "fetch": ["sources"],
    "install": ["image"],
    "populate_sysroot": ["sysroot-destdir"],
    "package": ["packages-split", "pkgdata/{name}"],
    "package_deb": ["deploy-deb"],
    "image": ["rootfs", "manifest"],
}
_C_FILES = ("main", "parse", "format", "table", "util")
_PLAIN_FILES = ("README", "COPYING", "configure", "Makefile.in", "man/{name}.1", "etc/{name}.conf")
_TABLES = 3
IMAGE = "image:image"


# What a WORKDIR holds


class File(NamedTuple):
    """A file or symlink; its mtime in nanoseconds."""

    oid: Oid
    mode: int = MODE_FILE
    mtime: int = EPOCH_NS


@dataclass(slots=True, eq=False)
class Folder:
    """A folder that is never changed once it is made, and shared between all WORKDIRs that have it."""

    entries: dict[str, File | Folder] = field(default_factory=dict)
    mtime: int | None = None
    """In nanoseconds; None for a WORKDIR itself."""
    tree: Oid | None = None
    """Its content's id, once it is written."""
    attributes: Oid | None = None

    def at(self, path: str) -> File | Folder:
        found: File | Folder = self
        for part in path.split("/"):
            found = cast(Folder, found).entries[part]
        return found

    def folder(self, path: str) -> Folder:
        return cast(Folder, self.at(path))

    def files(self) -> Iterator[File]:
        for item in self.entries.values():
            if isinstance(item, Folder):
                yield from item.files()
            else:
                yield item


def with_items(folder: Folder, items: Mapping[str, File | Folder], now: int = EPOCH_NS) -> Folder:
    """Return a folder that also has these items at these paths; what had to be made for that gets `now` for mtime."""
    entries, below = dict(folder.entries), dict[str, dict[str, File | Folder]]()
    for path, item in items.items():
        first, _, rest = path.partition("/")
        if rest:
            below.setdefault(first, {})[rest] = item
        else:
            entries[first] = item
    for first, inside in below.items():
        entries[first] = with_items(cast(Folder, entries.get(first) or Folder(mtime=now)), inside, now)
    added = len(entries) != len(folder.entries) and folder.mtime is not None
    return Folder(entries, now if added else folder.mtime)


def without_times(folder: Folder) -> Folder:
    """Return the folder as others get it out of an output."""
    entries = {
        name: without_times(item) if isinstance(item, Folder) else item._replace(mtime=EPOCH_NS)
        for name, item in folder.entries.items()
    }
    return Folder(entries, EPOCH_NS, folder.tree)


def merged(folders: Sequence[Folder]) -> Folder:
    """Return the union of folders out of outputs that have no file in common."""
    if len(folders) == 1:
        return folders[0]
    below: dict[str, list[File | Folder]] = {}
    for folder in folders:
        for name, item in folder.entries.items():
            below.setdefault(name, []).append(item)
    entries = {
        name: merged(cast(list[Folder], items)) if isinstance(items[0], Folder) else items[0]
        for name, items in below.items()
    }
    return Folder(entries, EPOCH_NS)


class Objects:
    """Writes objects as `ObjectWriter` does, into pack after pack, and need not look into those that are finished."""

    def __init__(self, store: Store) -> None:
        self._folder = store.objects.folder
        self._stream = PackStream(self._folder)
        self._written = {EMPTY_TREE}

    def add(self, kind: Kind, data: bytes) -> Oid:
        oid = object_id(kind, data)
        if oid not in self._written:
            self._written.add(oid)
            self._stream.add(oid, kind, data)
        return oid

    def add_tree(self, entries: list[Entry]) -> Oid:
        return self.add("tree", encode_tree(entries))

    def add_commit(self, commit: Commit) -> Oid:
        return self.add("commit", commit.encode())

    def finish_pack(self) -> None:
        self._stream.finish()
        self._stream = PackStream(self._folder)

    def close(self) -> None:
        self._stream.finish()

    def abort(self) -> None:
        self._stream.abort()

    @property
    def size(self) -> int:
        """Bytes in the pack that is being written."""
        return self._stream.size

    def file(self, data: bytes, mode: int = MODE_FILE, mtime: int = EPOCH_NS) -> File:
        return File(self.add("blob", data), mode, mtime)

    def tree(self, folder: Folder) -> Oid:
        """Write a folder's content."""
        if folder.tree is None:
            folder.tree = self.add_tree(
                [
                    Entry(name.encode(), MODE_DIRECTORY, self.tree(item))
                    if isinstance(item, Folder)
                    else Entry(name.encode(), item.mode, item.oid)
                    for name, item in folder.entries.items()
                ]
            )
        return folder.tree

    def attributes(self, folder: Folder) -> Oid:
        """Write a folder's mtimes, in the form of a WORKDIR."""
        if folder.attributes is None:
            lines = [] if folder.mtime is None else [b".\tmtime=%d.%09d\n" % divmod(folder.mtime, 1_000_000_000)]
            entries = []
            for name, item in sorted(folder.entries.items()):
                if isinstance(item, Folder):
                    entries.append(Entry(name.encode(), MODE_DIRECTORY, self.attributes(item)))
                else:
                    lines.append(b"%s\tmtime=%d.%09d\n" % (name.encode(), *divmod(item.mtime, 1_000_000_000)))
            if lines:
                entries.append(Entry(BLOB_NAME, MODE_FILE, self.add("blob", b"".join(lines))))
            folder.attributes = self.add_tree(entries)
        return folder.attributes

    def pair(self, folder: Folder) -> Pair:
        return Pair(self.tree(folder), self.attributes(folder)) if folder.entries else EMPTY


# Recipes, and what their tasks make


class Source(NamedTuple):
    """A source file: numbers that stand for what is in it. A comment makes no other program."""

    code: int = 0
    comment: int = 0
    broken: bool = False


@dataclass(slots=True, eq=False)
class Recipe:
    """A recipe as it is now."""

    name: str
    depends: tuple[Recipe, ...] = ()
    static: bool = False
    """Its program holds the libraries that it needs, so that it is another when they are."""
    sources: dict[str, Source] = field(default_factory=dict)
    variables: dict[str, int] = field(default_factory=lambda: {"CFLAGS": 0, "EXTRA_OECONF": 0, "DESCRIPTION": 0})
    patches: dict[str, int] = field(default_factory=dict)
    """Source file that is patched -> which patch."""

    @property
    def folder(self) -> str:
        return f"{self.name}-{VERSION}"

    def code(self, path: str) -> tuple[object, ...]:
        """Return what a compiler sees of a source file."""
        return self.name, path, self.sources[path].code, self.patches.get(path)


def noise(*parts: object, size: int = 160) -> bytes:
    """Return what stands for a compiler's work: bytes that are others when anything is that they were made of."""
    return hashlib.shake_128(repr(parts).encode()).digest(size)


def source_text(recipe: Recipe, path: str, *, patched: bool = False) -> bytes:
    source = recipe.sources[path]
    lines = [f"/* {recipe.name}: {path}", f" * comment {source.comment}", " */", f'#include "{recipe.name}.h"', ""]
    for number in range(6):
        value = source.code if number == 3 else number
        lines += [f"int {recipe.name}_{number}(int given)", "{", f"    return given * {value + 17};", "}", ""]
    if source.broken:
        lines.append("int broken(")
    if patched and path in recipe.patches:
        lines.append(f"int fixed_{recipe.patches[path]};")
    return "".join(f"{line}\n" for line in lines).encode()


class Made(NamedTuple):
    """What a task made: its WORKDIR, what is below its output folders (None if it failed), and its log."""

    workdir: Folder
    output: Folder | None
    log: str


@dataclass(slots=True)
class Taken:
    """What a task starts from: the WORKDIR, the outputs in its sysroot, the moment in nanoseconds."""

    start: Folder
    needs: list[Folder]
    now: int
    compiler: int


class Bodies:
    """The tasks' scripts: from what a task takes to what it makes, a method each."""

    def __init__(self, objects: Objects) -> None:
        self.objects = objects

    def run(self, recipe: Recipe, task: str, taken: Taken) -> Made:
        made: Made = getattr(self, task)(recipe, taken)
        return made

    def sources(self, recipe: Recipe) -> Folder:
        """Return the folder of sources that a recipe names."""
        files = {path: self.objects.file(source_text(recipe, path)) for path in recipe.sources}
        folder = with_items(Folder(mtime=EPOCH_NS), files)
        folder.entries["configure"] = cast(File, folder.entries["configure"])._replace(mode=MODE_EXECUTABLE)
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
        items: dict[str, File | Folder] = {f"patches/{name}": file for name, file in self.patch_files(recipe).items()}
        log = "".join(f"applying {path.partition('/')[2]}\n" for path in items)
        for path in recipe.patches:
            text = source_text(recipe, path, patched=True)
            items[f"{recipe.folder}/{path}"] = self.objects.file(text, mtime=taken.now)
        return Made(with_items(taken.start, items, taken.now), Folder(), log)

    def configure(self, recipe: Recipe, taken: Taken) -> Made:
        option = f"--with-level={recipe.variables['EXTRA_OECONF']}"
        config = f'#define PACKAGE "{recipe.name}"\n#define LEVEL {recipe.variables["EXTRA_OECONF"]}\n'
        texts = {
            "config.h": config + "".join(f"#define HAVE_{other.name.upper()} 1\n" for other in recipe.depends),
            "config.status": f"#! /bin/sh\n# {option}\nexec ./configure {option}\n",
            "Makefile": f"all: lib{recipe.name}.so.1 {recipe.name}\n" + "".join(f"# {name}.o\n" for name in _C_FILES),
        }
        items = {f"{recipe.folder}/{name}": self.objects.file(text.encode()) for name, text in texts.items()}
        later = {path: file._replace(mtime=taken.now) for path, file in items.items()}
        log = f"checking for gcc... gcc 12.{taken.compiler}\n"
        log += "".join(f"checking for {other.name}... yes\n" for other in recipe.depends)
        return Made(with_items(taken.start, later, taken.now), Folder(), f"./configure {option}\n{log}")

    def compile(self, recipe: Recipe, taken: Taken) -> Made:
        headers = [taken_in.folder("usr/include").entries for taken_in in taken.needs]
        config = cast(File, taken.start.at(f"{recipe.folder}/config.h")).oid
        every = (config, recipe.variables["CFLAGS"], taken.compiler, recipe.code(f"include/{recipe.name}.h"))
        seen = [sorted((name, cast(File, file).oid) for name, file in each.items()) for each in headers]
        made: dict[str, tuple[bytes, int]] = {}
        log = ""
        for name in _C_FILES:
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
        made[f"lib{recipe.name}.so.1"] = b"\x7fELF" + noise("library", linked, size=400), MODE_EXECUTABLE
        made[recipe.name] = b"\x7fELF" + noise("program", linked, libraries, size=400), MODE_EXECUTABLE
        return Made(self._compiled(recipe, taken, made), Folder(), log + f"gcc -o {recipe.name}\n")

    def _compiled(self, recipe: Recipe, taken: Taken, made: Mapping[str, tuple[bytes, int]]) -> Folder:
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
        where |= {f"usr/share/{name}/table-{number}": f"data/table-{number}" for number in range(_TABLES)}
        items = {path: cast(File, built.at(source))._replace(mtime=taken.now) for path, source in where.items()}
        items[f"usr/lib/lib{name}.so"] = self.objects.file(f"lib{name}.so.1".encode(), MODE_SYMLINK, taken.now)
        config = f"prefix=/usr\nName: {name}\nVersion: 1\nLibs: -l{name}\n".encode()
        items[f"usr/lib/pkgconfig/{name}.pc"] = self.objects.file(config, mtime=taken.now)
        image = with_items(Folder(mtime=taken.now), items, taken.now)
        log = "".join(f"install -D {source} {path}\n" for path, source in where.items())
        return Made(with_items(taken.start, {"image": image}, taken.now), Folder({"image": image}), log)

    def populate_sysroot(self, recipe: Recipe, taken: Taken) -> Made:
        usr = taken.start.folder("image/usr")
        kept: dict[str, File | Folder] = {f"usr/{name}": usr.entries[name] for name in ("bin", "include", "lib")}
        kept[f"usr/share/{recipe.name}"] = usr.at(f"share/{recipe.name}")
        sysroot = with_items(Folder(mtime=taken.now), kept, taken.now)
        workdir = with_items(taken.start, {"sysroot-destdir": sysroot})
        return Made(workdir, Folder({"sysroot-destdir": sysroot}), "")

    def package(self, recipe: Recipe, taken: Taken) -> Made:
        name, image = recipe.name, taken.start.folder("image")
        parts = {
            name: (f"usr/bin/{name}", f"usr/lib/lib{name}.so.1", f"usr/share/{name}", f"etc/{name}.conf"),
            f"{name}-dev": (f"usr/include/{name}.h", f"usr/lib/lib{name}.so", "usr/lib/pkgconfig"),
            f"{name}-staticdev": (f"usr/lib/lib{name}.a",),
            f"{name}-doc": (f"usr/share/doc/{name}", "usr/share/man"),
        }
        items = {f"{part}/{path}": image.at(path) for part, paths in parts.items() for path in paths}
        split = with_items(Folder(mtime=taken.now), items, taken.now)
        needs = ", ".join(f'"{other.name}"' for other in recipe.depends)
        data = self.objects.file(f'{{"{name}": {{"needs": [{needs}]}}}}\n'.encode(), mtime=taken.now)
        pkgdata = with_items(Folder(mtime=taken.now), {f"{name}/packages.json": data}, taken.now)
        gives: dict[str, File | Folder] = {"packages-split": split, "pkgdata": pkgdata}
        log = "".join(f"{part}: {len(paths)} entries\n" for part, paths in parts.items())
        return Made(with_items(taken.start, gives), Folder(gives), log)

    def package_deb(self, recipe: Recipe, taken: Taken) -> Made:
        items: dict[str, File | Folder] = {}
        for part, folder in taken.start.folder("packages-split").entries.items():
            control = f"Package: {part}\nVersion: 1\nDescription: number {recipe.variables['DESCRIPTION']}\n".encode()
            packed = noise(control, self.objects.tree(cast(Folder, folder)), size=300)
            items[f"packages-split/{part}/DEBIAN/control"] = self.objects.file(control, mtime=taken.now)
            deb = self.objects.file(b"!<arch>\ndebian-binary   " + packed, mtime=taken.now)
            items[f"deploy-deb/deb/{part}_1_amd64.deb"] = deb
        workdir = with_items(taken.start, items, taken.now)
        log = "".join(f"{path}\n" for path in items if path.endswith(".deb"))
        return Made(workdir, Folder({"deploy-deb": workdir.folder("deploy-deb")}), log)

    def image(self, taken: Taken, packages: Mapping[str, Folder]) -> Made:
        """The image's only task: `packages` are those that are unpacked into it."""
        status = "".join(f"Package: {name}\nStatus: install ok installed\nVersion: 1\n\n" for name in packages)
        names = "".join(f"{name} 1\n" for name in packages)
        root = merged(list(packages.values()))
        root = with_items(root, {"var/lib/dpkg/status": self.objects.file(status.encode())})
        manifest = Folder({"packages": self.objects.file(names.encode(), mtime=taken.now)}, taken.now)
        gives: dict[str, File | Folder] = {"rootfs": root, "manifest": manifest}
        return Made(with_items(taken.start, gives), Folder(gives), "".join(f"unpacking {name}\n" for name in packages))


# Builds


class Node(NamedTuple):
    """A task of the project's graph, and the keys of others that it takes something of."""

    key: str
    recipe: Recipe
    task: str
    after: str
    from_: tuple[str, ...]
    needs: tuple[str, ...]

    @property
    def edges(self) -> tuple[str, ...]:
        return (*((self.after,) if self.after else ()), *self.from_, *self.needs)

    @property
    def arch(self) -> str:
        return MACHINE if self.key == IMAGE else "x86_64"

    @property
    def chain(self) -> str:
        return "unpack" if self.task in _AFTER else self.task

    @property
    def where(self) -> str:
        """The folder that its script begins in."""
        return "${B}" if self.task in _WITH_SYSROOT else "${WORKDIR}"

    @property
    def staging(self) -> list[str]:
        return [f"{key} target sysroot-destdir" for key in self.needs]

    @property
    def outputdirs(self) -> list[str]:
        return [path.format(name=self.recipe.name) for path in _OUTPUTDIRS.get(self.task, [])]


class Result(NamedTuple):
    """What a run left."""

    task_hash: Oid
    output: Oid
    commit: Oid
    number: int
    workdir: Folder
    gives: Folder
    """The output as others get it."""


@dataclass(frozen=True, slots=True)
class Change:
    """Something that a build finds changed: the tasks that see it, and how it is made."""

    tasks: tuple[str, ...]
    table: dict[str, object]
    name: str
    value: object


class History:
    """The project, and what is recorded of it so far."""

    def __init__(self, store: Store, objects: Objects, *, recipes: int, runs: int, seed: int) -> None:
        self.store, self.objects, self.bodies = store, objects, Bodies(objects)
        self.random = random.Random(seed)
        self.runs, self.ran = runs, 0
        self.packs = _ends_of_packs(runs)
        self.refs: dict[str, Oid] = {}
        self.time = float(FIRST_BUILD)
        self.compiler = 2
        self.toolchain = b""
        self.recipes = self._make_recipes(recipes)
        self.nodes = {node.key: node for node in self._make_nodes()}
        self.users: dict[str, list[str]] = {key: [] for key in self.nodes}
        for node in self.nodes.values():
            for edge in node.edges:
                self.users[edge].append(node.key)
        needed = {edge for node in self.nodes.values() for edge in node.needs}
        staging = [node.key for node in self.nodes.values() if node.task == "populate_sysroot"]
        self.targets = [IMAGE, *(key for key in staging if key not in needed)]
        self.now: dict[str, Result] = {}
        """Task -> what it came to the last time that it was settled."""
        self.known: dict[str, dict[Oid, Result]] = {key: {} for key in self.nodes}
        self.static: dict[str, Oid] = {}
        self.own: dict[str, OwnInputs] = {}
        self.sysroots: dict[str, tuple[tuple[Oid, ...], Pair]] = {}
        self.dirty = set(self.nodes)
        self.listed: dict[str, tuple[list[Line], Oid]] = {}
        self.spans: list[tuple[str, float, float, int]] = []
        """Of the build that is played: task, when it began, how many seconds it took, bytes added."""
        self.undo: list[Change] = []
        self.counter = itertools.count(1)
        self.use_compiler()

    def _make_recipes(self, count: int) -> list[Recipe]:
        made: list[Recipe] = []
        for number in range(count):
            name = f"part{number:02}"
            depends = self.random.sample(made, min(len(made), self.random.choice((0, 1, 1, 2, 3))))
            paths = [path.format(name=name) for path in _PLAIN_FILES] + [f"include/{name}.h"]
            paths += [f"src/{each}.c" for each in _C_FILES] + [f"data/table-{each}" for each in range(_TABLES)]
            in_order = tuple(sorted(depends, key=lambda recipe: recipe.name))
            made.append(Recipe(name, in_order, number % 2 == 1, {path: Source() for path in paths}))
        return made

    def _make_nodes(self) -> Iterator[Node]:
        for recipe in self.recipes:
            key = recipe.name
            for task in TASKS:
                after = f"{key}:{_AFTER[task]}" if task in _AFTER else ""
                from_ = (f"{key}:{_FROM[task]}",) if task in _FROM else ()
                needs = [f"{other.name}:populate_sysroot" for other in recipe.depends if task in _WITH_SYSROOT]
                yield Node(f"{key}:{task}", recipe, task, after, from_, tuple(needs))
        packages = tuple(f"{recipe.name}:package_deb" for recipe in self.recipes)
        yield Node(IMAGE, Recipe("image"), "image", "", packages, ())

    def use_compiler(self) -> None:
        """Capture the host's tools."""
        files = {f"usr/bin/{name}": self._tool(name) for name in TOOLS}
        self.toolchain = self.objects.tree(with_items(Folder(), files))
        commit = Commit(self.toolchain, (), CONSTANT_IDENTITY, "host-toolchain\n")
        self.refs[f"refs/prov/toolchain/{self.toolchain.hex()}"] = self.objects.add_commit(commit)
        self.own.clear()
        self.dirty |= self.nodes.keys()

    def _tool(self, name: str) -> File:
        version = self.compiler if name in ("gcc", "ld") else 0
        return self.objects.file(b"\x7fELF" + noise("tool", name, version), MODE_EXECUTABLE)

    # what changes between builds

    def reached(self, keys: Iterable[str]) -> set[str]:
        """Return the tasks and all that depend on them."""
        found, pending = set(keys), list(keys)
        while pending:
            new = set(self.users[pending.pop()]) - found
            found |= new
            pending += new
        return found

    def change(self, room: int) -> bool:
        """Change something that makes at most `room` tasks run, if there is such a thing; tell whether."""
        for _ in range(8):
            change, back = self._undone() if self.undo and self.random.random() < 0.06 else self._new_change()
            if self._fits(change, room):
                old = change.table.get(change.name)
                if not back and not (isinstance(old, Source) and old.broken):
                    self.undo = [*self.undo[-3:], Change(change.tasks, change.table, change.name, old)]
                self._make(change)
                return True
        recipe = self.random.choice(self.recipes)
        change = self._of_variable(recipe, "DESCRIPTION", ("package_deb",))
        if not self._fits(change, room):
            return False
        self._make(change)
        return True

    def _fits(self, change: Change, room: int) -> bool:
        return len(self.reached({*change.tasks, *self.dirty})) <= room

    def _make(self, change: Change) -> None:
        if change.value is None:
            change.table.pop(change.name, None)
        else:
            change.table[change.name] = change.value
        for key in change.tasks:
            self.own.pop(key, None)
        self.dirty |= set(change.tasks)

    def _undone(self) -> tuple[Change, bool]:
        return self.undo.pop(), True

    def _new_change(self) -> tuple[Change, bool]:
        recipe, kind = self.random.choice(self.recipes), self.random.random()
        if kind < 0.72:
            return self._of_source(recipe), False
        if kind < 0.84:
            name = self.random.choice(("CFLAGS", "EXTRA_OECONF"))
            tasks = _WITH_SYSROOT if name == "CFLAGS" else ("configure",)
            return self._of_variable(recipe, name, tasks), False
        if kind < 0.88:
            return self._of_variable(recipe, "DESCRIPTION", ("package_deb",)), False
        path = f"src/{self.random.choice(_C_FILES)}.c"
        value = None if path in recipe.patches and kind < 0.92 else next(self.counter)
        table = cast(dict[str, object], recipe.patches)
        return Change((f"{recipe.name}:patch",), table, path, value), False

    def _of_variable(self, recipe: Recipe, name: str, tasks: Sequence[str]) -> Change:
        table = cast(dict[str, object], recipe.variables)
        return Change(tuple(f"{recipe.name}:{task}" for task in tasks), table, name, next(self.counter))

    def _of_source(self, recipe: Recipe) -> Change:
        kind = self.random.random()
        if kind < 0.7:
            path = f"src/{self.random.choice(_C_FILES)}.c"
        elif kind < 0.8:
            path = f"include/{recipe.name}.h"
        else:
            path = self.random.choice([path for path in recipe.sources if not path.endswith((".c", ".h"))])
        old, number = recipe.sources[path], next(self.counter)
        if path.endswith(".c") and kind < 0.15:
            new = old._replace(comment=number)
        else:
            new = Source(number, old.comment, path.endswith(".c") and kind > 0.6 and self._may_break)
        return Change((f"{recipe.name}:fetch",), cast(dict[str, object], recipe.sources), path, new)

    @property
    def _may_break(self) -> bool:
        """Tell whether there will be runs enough to mend it."""
        return self.runs - self.ran > 3 * len(self.nodes)

    def mend(self) -> None:
        """Correct the sources that do not compile."""
        for recipe in self.recipes:
            for path, source in recipe.sources.items():
                if source.broken:
                    table = cast(dict[str, object], recipe.sources)
                    new = Source(next(self.counter), source.comment)
                    self._make(Change((f"{recipe.name}:fetch",), table, path, new))

    @property
    def broken(self) -> bool:
        return any(source.broken for recipe in self.recipes for source in recipe.sources.values())

    # one build

    def build(self, forced: Sequence[str] = ()) -> None:
        """Run what is to be run, and append to the history of builds."""
        began, happened, failed = self.time, dict[str, str](), False
        work, unknown = self.reached({*self.dirty, *forced}), set[str]()
        done: set[str] = set()
        for key, node in self.nodes.items():
            if key in work:
                self.static[key] = self._hash(HashOnly(), node, self.static.__getitem__, self.static.__getitem__)
        for key, node in self.nodes.items():
            if key not in work:
                continue
            oid = self._hash(self.objects, node, lambda edge: self.now[edge].task_hash, lambda at: self.now[at].output)
            result = None if key in forced else self.known[key].get(oid)
            if result is not None:
                self.now[key] = result
                if not unknown.isdisjoint(node.edges):
                    unknown.add(key)
                    happened[key] = "cut off"
            else:
                unknown.add(key)
                for edge in node.edges:
                    happened.setdefault(edge, "restored")
                result = self.run(node, oid)
                if result is None:
                    failed, happened[key] = True, f"failed {oid.hex()}"
                    break
                happened[key] = "ran"
            done.add(key)
        self.dirty = work - done
        self.time += 0.05
        self._record(happened, began, ok=not failed)
        self.time += self.random.uniform(60, 7200)

    def _hash(self, sink: TreeWriter, node: Node, hash_of, output_of) -> Oid:  # type: ignore[no-untyped-def]
        own = self.own.get(node.key) or self._own(node)
        edges = {
            "after": {node.after.partition(":")[2]: hash_of(node.after).hex()} if node.after else {},
            "from": {key: output_of(key).hex() for key in node.from_},
            "needs": {key: output_of(key).hex() for key in node.needs},
        }
        return task_hash(sink, own, edges)

    def _own(self, node: Node) -> OwnInputs:
        """Return a task's own inputs, as `InputsReader` gathers them."""
        add, recipe, task = self.objects.add, node.recipe, node.task
        lines = [f"task {node.key}", f"arch target {node.arch}" if node.key != IMAGE else f"arch machine {MACHINE}"]
        lines += ["interpreter sh", f"dir {node.where}"]
        lines += [f"outputdir {path}" for path in node.outputdirs]
        lines += [f"needs {text}" for text in node.staging]
        texts = {"task": "\n".join(lines) + "\n", "host-toolchain": f"{self.toolchain.hex()}\n"}
        texts["script"] = f"# {task}\nrun_{task}\n"
        entries = [Entry(name.encode(), MODE_FILE, add("blob", text.encode())) for name, text in texts.items()]
        values = {"BPN": recipe.name, "PV": VERSION}
        if task in _WITH_SYSROOT:
            values |= {"B": "${S}", "S": "${WORKDIR}/${BPN}-${PV}", "CC": "gcc"}
            values["CFLAGS"] = f"-O2 -DFLAG={recipe.variables['CFLAGS']}"
        if task == "configure":
            values["EXTRA_OECONF"] = f"--with-level={recipe.variables['EXTRA_OECONF']}"
        if task == "package_deb":
            values["DESCRIPTION"] = f"number {recipe.variables['DESCRIPTION']}"
        tables = {"variables": {name: self.objects.file(value.encode()) for name, value in values.items()}}
        if task == "fetch":
            inside = self.objects.tree(self.bodies.sources(recipe))
            tree = self.objects.add_tree([Entry(recipe.folder.encode(), MODE_DIRECTORY, inside)])
            entries.append(Entry(b"sources", MODE_DIRECTORY, tree))
        if task == "patch" and recipe.patches:
            tables["patches"] = self.bodies.patch_files(recipe)
        for kind, files in tables.items():
            tree = self.objects.add_tree([Entry(name.encode(), file.mode, file.oid) for name, file in files.items()])
            entries.append(Entry(kind.encode(), MODE_DIRECTORY, tree))
        own = self.own[node.key] = OwnInputs(tuple(entries), Reached((), ()))
        return own

    def run(self, node: Node, oid: Oid) -> Result | None:
        """Run a task; None if it failed."""
        start, size = self._start(node), self.objects.size
        seconds = self.random.uniform(0.01, 4)
        began, self.time = self.time + 0.02, self.time + 0.04 + seconds
        taken = Taken(start[1], [self._sysroot(key) for key in node.needs], int(began * 1e9), self.compiler)
        if node.key == IMAGE:
            made = self.bodies.image(taken, self._packages())
        else:
            made = self.bodies.run(node.recipe, node.task, taken)
        output = None if made.output is None else Pair(self.objects.tree(made.output), None)
        run = Run(
            key=node.key,
            task_hash=oid,
            start=Start(start[0], EMPTY),  # its content is in its commit
            after=self.objects.pair(made.workdir),
            output=None if output is None else Output(output),
            log=made.log.encode(),
            environment=_environment(node),
            facts=self._facts(node, began, seconds, failed=output is None),
            sysroots=self._sysroots(node, taken.needs),
            definition=self._definition(node),
        )
        recorded = write_run(cast(ObjectWriter, self.objects), run, author(self.time))
        number = self._tag(node, oid, recorded.commit, failed=output is None)
        self.spans.append((node.key, began, seconds, self.objects.size - size))
        self.ran += 1
        if self.ran in self.packs:
            self.objects.finish_pack()
        if made.output is None:
            return None
        self.refs[output_ref(node.key, oid)] = recorded.output_commit
        self.refs[static_ref(node.key, self.static[node.key])] = recorded.output_commit
        if node.task in ("package_deb", "image"):
            self.refs[f"refs/prov/deploy/{node.arch}/{node.key.replace(':', '/')}"] = recorded.output_commit
        gives = without_times(made.output)
        result = Result(oid, recorded.output, recorded.commit, number, made.workdir, gives)
        self._remember(node.key, result)
        return result

    def _definition(self, node: Node) -> bytes:
        """Return what it needs to be run again, as `define` words it."""
        sources: list[list[object]] = []
        patches: list[list[object]] = []
        if node.task == "fetch":
            tree = self.objects.tree(self.bodies.sources(node.recipe))
            sources = [[node.recipe.folder, 0o40755, tree.hex(), ""]]
        if node.task == "patch":
            files = self.bodies.patch_files(node.recipe).items()
            patches = [[name, 0o100644, file.oid.hex(), ""] for name, file in files]
        table = {
            "format": FORMAT,
            "version": VERSION,
            "arch": "machine" if node.key == IMAGE else "target",
            "arch_name": node.arch,
            "chain": node.chain,
            "after": [node.after] if node.after else [],
            "from": node.from_,
            "needs": node.needs,
            "direct": [],
            "staging": node.staging,
            "task": {
                "dir": node.where,
                "outputdir": node.outputdirs,
                "inputs": {"fetch": ["sources"], "patch": ["patches"]}.get(node.task, []),
                "interpreter": "sh",
                "hosttools": [],
                "network": False,
                "deploy": node.task in ("package_deb", "image"),
            },
            "export": [],
            "sysroot_owner": {},
            "excluded": {},
            "programs": [[name, f"/usr/bin/{name}"] for name in TOOLS],
            "sources": sources,
            "patches": patches,
        }
        rows = ",\n".join(f'"{name}": {json.dumps(value, sort_keys=True)}' for name, value in sorted(table.items()))
        return f"{{\n{rows}\n}}\n".encode()

    def _start(self, node: Node) -> tuple[Oid, Folder]:
        """Return the commit and the WORKDIR that a task starts from."""
        if node.after:
            return self.now[node.after].commit, self.now[node.after].workdir
        if not node.from_:
            return empty_start(cast(ObjectWriter, self.objects)).commit, Folder()
        start = Folder(merged([self.now[key].gives for key in node.from_]).entries)
        message = f"start from {', '.join(node.from_)}\n"
        return self.objects.add_commit(Commit(self.objects.tree(start), (), CONSTANT_IDENTITY, message)), start

    def _sysroot(self, key: str) -> Folder:
        return self.now[key].gives.folder("sysroot-destdir")

    def _sysroots(self, node: Node, needs: Sequence[Folder]) -> dict[str, Pair]:
        """Return what the record says of the sysroots."""
        if not needs:
            return {}
        taken = tuple(self.now[key].output for key in node.needs)
        before = self.sysroots.get(node.recipe.name)
        if before is None or before[0] != taken:
            before = self.sysroots[node.recipe.name] = taken, Pair(self.objects.tree(merged(needs)), None)
        return {"target": before[1]}

    def _packages(self) -> dict[str, Folder]:
        """Return what is installed into the image."""
        found: dict[str, Folder] = {}
        for recipe in self.recipes:
            split = self.now[f"{recipe.name}:package"].gives.folder("packages-split")
            found |= {name: split.folder(name) for name in (recipe.name, f"{recipe.name}-doc")}
        return found

    def _facts(self, node: Node, began: float, seconds: float, *, failed: bool) -> dict[str, str]:
        return {
            "result": "failed: exit status 2" if failed else "ok",
            "began": f"{began:.3f}",
            "seconds": f"{seconds:.3f}",
            "sandbox": "bwrap",
            "host": "builder",
            "workdir": f"/home/builder/project/build/work/{node.arch}/{node.recipe.name}/{node.chain}",
            "seen-workdir": f"/build/work/{node.arch}/{node.recipe.name}/{node.chain}",
            "outputdir": shlex.join(node.outputdirs),
        }

    def _tag(self, node: Node, oid: Oid, commit: Oid, *, failed: bool) -> int:
        prefix = tag_prefix(node.key, oid, failed=failed)
        number = next(number for number in itertools.count(1) if f"{prefix}/{number}" not in self.refs)
        self.refs[f"{prefix}/{number}"] = commit
        self.refs[workdir_ref(node.arch, node.recipe.name, node.chain)] = commit
        return number

    def _remember(self, key: str, result: Result) -> None:
        known = self.known[key]
        known[result.task_hash] = self.now[key] = result
        if len(known) > REMEMBERED:
            del known[next(iter(known))]

    def _record(self, happened: Mapping[str, str], began: float, *, ok: bool) -> None:
        """Append a build to the history, as `record_build` encodes it."""
        lines: dict[str, list[Line]] = {}
        for key, result in self.now.items():
            if key not in self.dirty:
                line = Line(key, result.task_hash, result.output, result.number)
                lines.setdefault(key.partition(":")[0], []).append(line)
        facts = {"targets": " ".join(self.targets), "result": "ok" if ok else "failed"}
        facts |= {"seconds": f"{self.time - began:.3f}", "script-seconds": f"{(self.time - began) * 0.9:.3f}"}
        facts["own-seconds"] = f"{(self.time - began) * 0.1:.3f}"
        added = sum(added for *_, added in self.spans)
        facts |= {"host": "builder", "sandbox": "bwrap", "jobs": "2", "added": str(added)}
        counted = ("ran", "restored", "cut off", "stale")
        facts |= {what.replace(" ", "-"): str(sum(each == what for each in happened.values())) for what in counted}
        timeline = [Span(key, at - began, seconds, added) for key, at, seconds, added in self.spans]
        self.spans = []
        versions = sorted(["image", *(recipe.name for recipe in self.recipes)])
        texts = {
            "happened": "".join(f"{key} {what}\n" for key, what in sorted(happened.items())),
            "build": "".join(f"{name} {value}\n" for name, value in facts.items()),
            "timeline": "".join(f"{on.key} {on.began:.3f} {on.seconds:.3f} {on.added}\n" for on in timeline),
            "recipes": "".join(f"{name} {VERSION}\n" for name in versions),
        }
        entries = [
            Entry(name.encode(), MODE_FILE, self.objects.add("blob", each.encode())) for name, each in texts.items()
        ]
        tasks = [Entry(name.encode(), MODE_FILE, self._listed(name, each)) for name, each in lines.items()]
        entries.append(Entry(b"tasks", MODE_DIRECTORY, self.objects.add_tree(tasks)))
        before = self.refs.get(BUILDS)
        message = f"build of {facts['targets']}: {facts['result']}\n"
        tree = self.objects.add_tree(entries)
        commit = Commit(tree, (before,) if before else (), author(began), message)
        self.refs[BUILDS] = self.objects.add_commit(commit)

    def _listed(self, recipe: str, lines: list[Line]) -> Oid:
        before = self.listed.get(recipe)
        if before is None or before[0] != lines:
            text = encode_tasks(sorted(lines, key=lambda line: line.key))
            before = self.listed[recipe] = lines, self.objects.add("blob", text)
        return before[1]

    # many builds

    def play(self, builds: int) -> None:
        """Build until there are as many runs as wanted, and at least so many builds."""
        made = 0
        while self.ran < self.runs or made < builds:
            left, failing = self.runs - self.ran, self.broken
            goal = left // max(builds - made, 1) if builds else self.random.choice((1, 1, 1, 40))
            if failing and (left < 2 * len(self.nodes) or self.random.random() < 0.8):
                self.mend()
            elif made and self.random.random() < 0.004 and left > 2 * len(self.nodes):
                self.compiler += 1
                self.use_compiler()
            elif made:
                for _ in self.recipes:  # more changes hardly make more tasks run
                    if len(self.reached(self.dirty)) >= goal or not self.change(left):
                        break
            self.build(forced=(IMAGE,) if goal and not self.dirty else ())
            made += 1


def _environment(node: Node) -> dict[str, str]:
    workdir = f"/build/work/{node.arch}/{node.recipe.name}/{node.chain}"
    found = {"HOME": f"{workdir}/temp", "JOBS": "2", "LC_ALL": "C.UTF-8", "PATH": "/build/hosttools"}
    found |= {"RECIPE_SYSROOT": f"{workdir}/recipe-sysroot", "TZ": "UTC", "WORKDIR": workdir}
    return dict(sorted(found.items()))


def _ends_of_packs(runs: int) -> set[int]:
    """Return after which runs a pack ends: each twice what follows it, and the last runs have one each."""
    ends, at = set[int](), 0
    while runs - at > 12:
        at += (runs - at) * 2 // 3
        ends.add(at)
    return ends | set(range(at, runs))


def make_store(path: Path, *, runs: int, recipes: int = 64, builds: int = 0, seed: int = 0) -> Store:
    """Make a store of `runs` task commits at a path where there is none, and return it.

    There are as many recipes as asked for, or fewer if there are not runs enough to make each once. `builds`, if it is
    given, is how many builds the runs are spread over, at least; else each changes one thing or a few. The recipes are
    called `part00` and so on and have the tasks `TASKS`; `image:image` is made of all their packages.
    """
    recipes = max(min(recipes, (runs - 1) // len(TASKS)), 1)
    if runs < recipes * len(TASKS) + 1:
        raise ValueError(f"{runs} runs are too few: one recipe and the image take {len(TASKS) + 1}")
    store = Store.create(path)
    objects = Objects(store)
    try:
        history = History(store, objects, recipes=recipes, runs=runs, seed=seed)
        history.play(builds)
    except BaseException:
        objects.abort()
        raise
    objects.close()
    lines = [f"{oid.hex()} {name}\n" for name, oid in sorted(history.refs.items())]
    replace_file(path / "packed-refs", "".join(["# pack-refs with: peeled fully-peeled sorted \n", *lines]).encode())
    return Store.open(path)
