"""The task hash: the id of a tree that contains exactly the inputs of a task.

    task                 name, architecture, interpreter, folders, exported variables
    script, postprocess  texts
    functions/NAME       texts of the functions that the script uses
    variables/NAME       unexpanded values of the variables that the task uses
    sources/…            contents, or the checksum that pins them
    patches/NNNN-NAME    contents
    host-toolchain       id of the tree of host tools
    environment          variables that the project passes on from the caller
    capture              prov.toml's excludes for captures, and its xattrs
    after/TASK           task hash of the task in whose WORKDIR it continues
    from/TID, needs/TID  output id of a task whose output it uses

The difference between two task hashes is the diff of two trees. The static key is the id of the
same tree with the dependencies' static keys as edges. It is known after parsing, before any task
runs.
"""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from prov.errors import RecipeError
from prov.files import TICK_NS, read_cache, write_cache
from prov.recipes.graph import Node
from prov.recipes.recipe import NEVER_RECORDED, TOOLCHAIN, Recipe, Source
from prov.recipes.variables import PLACES, Reached, expand, reach
from prov.records.entries import EDGES
from prov.records.ids import TaskHash
from prov.records.keyvalue import encode_lines
from prov.store.git import ignored_paths
from prov.store.objects import (
    EMPTY_TREE,
    MODE_DIRECTORY,
    MODE_EXECUTABLE,
    MODE_FILE,
    Entry,
    Kind,
    Oid,
    encode_tree,
    object_id,
)
from prov.store.odb import ObjectWriter
from prov.store.repository import Store
from prov.tasks.sandbox import interpreter_tools
from prov.tasks.toolchain import Toolchain
from prov.worktree.attributes import FileNode, Listing, Pair, TreeWriter, git_mode, map_directories
from prov.worktree.exclude import VERSION_CONTROL, Exclude, inside
from prov.worktree.snapshot import capture, remember

NO_TOOLCHAIN = Toolchain(EMPTY_TREE, ())


@lru_cache(maxsize=1 << 16)
def _blob_id(data: bytes) -> Oid:
    return object_id("blob", data)


class HashOnly:
    """Computes object ids like a writer, without storing the objects."""

    def add(self, kind: Kind, data: bytes) -> Oid:
        return _blob_id(data) if kind == "blob" else object_id(kind, data)

    def add_tree(self, entries: list[Entry]) -> Oid:
        return object_id("tree", encode_tree(entries))


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A captured source or patch. The captured content is both hashed and copied to WORKDIR."""

    name: str
    node: FileNode


@dataclass(frozen=True, slots=True)
class OwnInputs:
    """A task's inputs without its edges: entries of the inputs tree, and their local files."""

    entries: tuple[Entry, ...]
    reached: Reached
    toolchain: Toolchain = NO_TOOLCHAIN
    environment: Mapping[str, str] = field(default_factory=dict)
    """The caller's variables passed to the task."""
    capture: str = ""
    """The settings in prov.toml for captures: excluded paths and extended attributes."""
    sources: tuple[LocalFile, ...] = ()
    patches: tuple[LocalFile, ...] = ()


def task_hash(sink: TreeWriter, own: OwnInputs, edges: Mapping[str, Mapping[str, str]]) -> TaskHash:
    """Write a task's inputs tree to `sink` and return its id.

    `edges` maps kind -> name -> hex id.
    """
    entries = list(own.entries)
    for kind in EDGES:
        if edges.get(kind):
            below = [
                Entry(name.encode(), MODE_FILE, sink.add("blob", f"{oid}\n".encode()))
                for name, oid in edges[kind].items()
            ]
            entries.append(Entry(kind.encode(), MODE_DIRECTORY, sink.add_tree(below)))
    return TaskHash(sink.add_tree(entries))


@dataclass(slots=True)
class InputsReader:
    """Collects tasks' own inputs, and captures local sources into the store."""

    store: Store
    writer: ObjectWriter
    toolchain: Callable[[tuple[str, ...], str], Toolchain]
    """Returns the toolchain with some host tools for a task, which errors name."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """The caller's variables passed to tasks.

    They are inputs, except of tasks with network access, which may need proxies.
    """
    capture: str = ""
    """The settings in prov.toml for captures: excluded paths and extended attributes."""
    allowed: Collection[str] = ()
    """Names of the caller's variables that are passed to tasks if set."""
    own_folders: Sequence[Path] = ()
    """The store and the build directory, which are excluded from sources that contain them."""
    _files: dict[tuple[Path, tuple[str, ...], bool], FileNode] = field(default_factory=dict)
    _tools: dict[tuple[str, str, tuple[str, ...]], tuple[str, ...]] = field(default_factory=dict)

    def own(self, node: Node, sink: TreeWriter) -> OwnInputs:
        """Return a node's own inputs; write their texts to `sink`."""
        recipe, task = node.recipe, node.task
        output_paths(recipe, node)  # reject invalid folders before anything runs
        reached = reach(recipe, task, self.allowed)
        sources = self._sources(recipe) if "sources" in task.inputs else ()
        patches = self._patches(recipe) if "patches" in task.inputs else ()
        toolchain = self.toolchain(self.tools(node), node.key)
        entries = [
            _text(sink, "task", task_text(node)),
            *self._texts(node, reached, sink),
            *self._settings(node, sink),
        ]
        if "sources" in task.inputs and recipe.sources:
            entries.append(self._source_tree(recipe, sources, sink))
        if patches:
            entries.append(_patch_tree(patches, sink))
        entries.append(_text(sink, "host-toolchain", f"{toolchain.tree.hex()}\n"))
        return OwnInputs(
            tuple(entries), reached, toolchain, self.environment, self.capture, sources, patches
        )

    def _texts(self, node: Node, reached: Reached, sink: TreeWriter) -> Iterator[Entry]:
        """Yield the entries of scripts, functions and variables."""
        recipe, task = node.recipe, node.task
        for name, text in (("script", task.script), ("postprocess", task.postprocess)):
            if text:
                yield _text(sink, name, text)
        left_out = {*PLACES, *task.vardepsexclude}
        variables = [name for name in reached.variables if name not in left_out]
        values = {name: recipe.variables[name].value for name in variables}
        functions = {name: recipe.functions[name] for name in reached.functions}
        for kind, texts in (("functions", functions), ("variables", values)):
            if texts:
                below = [_text(sink, name, text) for name, text in texts.items()]
                yield Entry(kind.encode(), MODE_DIRECTORY, sink.add_tree(below))

    def _settings(self, node: Node, sink: TreeWriter) -> Iterator[Entry]:
        """Yield the entries of settings for all tasks, from the caller and prov.toml."""
        if self.environment and not node.task.network:
            lines = encode_lines(dict(sorted(self.environment.items())), "=")
            yield Entry(b"environment", MODE_FILE, sink.add("blob", lines))
        if self.capture:
            yield _text(sink, "capture", self.capture)

    def tools(self, node: Node) -> tuple[str, ...]:
        """Return the host tools of a task: the default ones and its own."""
        recipe = node.recipe
        every, toolchain = (
            recipe.variables[name].value if name in recipe.variables else ""
            for name in ("HOSTTOOLS", "HOSTTOOLS_TOOLCHAIN")
        )
        key = (every, toolchain, (node.task.interpreter, *node.task.hosttools))
        tools = self._tools.get(key)
        if tools is None:
            names: list[str] = every.split()
            if node.task.interpreter == "python3":
                names += interpreter_tools()
            for tool in node.task.hosttools:
                names += toolchain.split() if tool == TOOLCHAIN else [tool]
            # a tool listed without ? anywhere is required
            required = {name for name in names if not name.endswith("?")}
            optional = {name for name in names if name.removesuffix("?") not in required}
            tools = self._tools[key] = tuple(sorted(optional | required))
        return tools

    def _sources(self, recipe: Recipe) -> tuple[LocalFile, ...]:
        files = []
        where = f"{recipe.path}: sources"
        for source in recipe.sources:
            if source.file is not None:
                if not source.file.exists():
                    raise RecipeError(
                        f"{where}: {source.file} does not exist",
                        hint="use a path relative to the recipe file, or fetch the source first",
                    )
                if source.sha256 and source.file.is_dir():
                    raise RecipeError(
                        f"{where}: {source.file} is a folder and cannot have `sha256`",
                        hint="remove `sha256`",
                    )
                files.append(LocalFile(source.name, self._capture(source.file, source, where)))
        return tuple(files)

    def _patches(self, recipe: Recipe) -> tuple[LocalFile, ...]:
        return tuple(
            LocalFile(f"{number:04}-{path.name}", self._capture(path))
            for number, path in enumerate(recipe.patches, 1)
        )

    def _source_tree(self, recipe: Recipe, files: tuple[LocalFile, ...], sink: TreeWriter) -> Entry:
        local = {file.name: file.node for file in files}
        below: list[Entry] = []
        for source in recipe.sources:
            below += _source_entries(source, local.get(source.name), sink)
        if len(recipe.sources) > 1:
            order = "".join(f"{source.name}\n" for source in recipe.sources)
            below.append(_text(sink, "%order", order))
        return Entry(b"sources", MODE_DIRECTORY, sink.add_tree(below))

    def _capture(self, path: Path, source: Source | None = None, where: str = "") -> FileNode:
        """Capture a local file or folder; unchanged files (by stat) are not read again."""
        rules = (source.exclude, source.gitignore) if source is not None else ((), False)
        captured = self._files.get((path, *rules))
        if captured is None:
            captured = (
                self._capture_folder(path, *rules, where)
                if path.is_dir()
                else self._capture_file(path)
            )
            self._files[path, *rules] = captured
        return captured

    def _capture_folder(
        self, path: Path, patterns: tuple[str, ...], gitignore: bool, where: str
    ) -> FileNode:
        top = path.resolve()
        for own in self.own_folders:
            if top.is_relative_to(own.resolve()):
                raise RecipeError(
                    f"{where}: {path} is inside {own}, which builds write to",
                    hint=f"use a folder outside {own}",
                )
        exclude = Exclude(
            [*VERSION_CONTROL, *inside(path, *self.own_folders), *patterns],
            paths=ignored_paths(path, self.store.path) if gitignore else (),
        )
        memory = self._memory(path, repr((patterns, gitignore)) if patterns or gitignore else "")
        snapshot = capture(self.store, path, self.writer, memory=memory, exclude=exclude)
        pair = snapshot.output(b"", self.writer) or Pair(snapshot.pair.tree, None)
        if pair.attributes is not None:
            pair = map_directories(self.writer, pair, _with_git_modes, self.writer)
        if snapshot.read:
            self.writer.finish()
            remember(snapshot, memory)
        return FileNode(0o040755, pair=pair)

    def _capture_file(self, path: Path) -> FileNode:
        memory = self._memory(path)
        state = path.stat()
        seal = f"{state.st_ino} {state.st_size} {state.st_mtime_ns} {state.st_ctime_ns}"
        mode = MODE_EXECUTABLE if state.st_mode & 0o100 else MODE_FILE
        known_seal, known = read_cache(memory) or ("", b"")
        if known_seal == seal and self.store.objects.exists(known):
            return FileNode(mode, known)
        oid = self.writer.add("blob", path.read_bytes())
        self.writer.finish()
        if state.st_ctime_ns < time.time_ns() - TICK_NS:
            memory.parent.mkdir(parents=True, exist_ok=True)
            write_cache(memory, (seal, oid))
        return FileNode(mode, oid)

    def _memory(self, path: Path, rules: str = "") -> Path:
        name = object_id("blob", os.fsencode(path.absolute()) + rules.encode()).hex()
        return self.store.cache / "sources" / name


def _with_git_modes(listing: Listing) -> Listing:
    """Return a listing with the modes that git stores; other bits depend on the user's umask."""
    return {
        name: FileNode(_plain_mode(node.mode), node.oid, node.pair)
        for name, node in listing.items()
    }


def _plain_mode(mode: int) -> int:
    return stat.S_IFMT(mode) | (0o755 if mode & 0o100 or stat.S_ISDIR(mode) else 0o644)


def _text(sink: TreeWriter, name: str, text: str) -> Entry:
    return Entry(
        name.encode(), MODE_FILE, sink.add("blob", text.encode("utf-8", "surrogateescape"))
    )


def _source_entries(source: Source, node: FileNode | None, sink: TreeWriter) -> Iterator[Entry]:
    """Yield a source's entries in the inputs tree: its content, or the checksum that pins it."""
    if node is None or source.sha256:
        yield _text(sink, source.name, _pinned(source))
    elif node.is_directory:
        yield Entry(source.name.encode(), MODE_DIRECTORY, node.pair.tree)
        if node.pair.attributes:
            yield Entry(f"%{source.name}".encode(), MODE_DIRECTORY, node.pair.attributes)
    else:
        yield Entry(source.name.encode(), git_mode(node.mode), node.oid)
    if not source.unpack:
        yield _text(sink, f"%{source.name}.unpack", "no\n")
    if source.submodules is not None:
        yield _text(sink, f"%{source.name}.submodules", f"{source.submodules}\n")


def _patch_tree(patches: Sequence[LocalFile], sink: TreeWriter) -> Entry:
    below = [Entry(file.name.encode(), git_mode(file.node.mode), file.node.oid) for file in patches]
    return Entry(b"patches", MODE_DIRECTORY, sink.add_tree(below))


def _pinned(source: Source) -> str:
    """Return the text that represents a pinned source; its address is not part of it."""
    return f"git {source.commit}\n" if source.git else f"sha256 {source.sha256}\n"


def task_text(node: Node) -> str:
    """Return the entry `task` of the inputs tree: the task's name and declarations."""
    recipe, task = node.recipe, node.task
    lines = [f"task {node.key}"]
    if recipe.arch != "allarch":
        lines.append(f"arch {recipe.arch} {node.arch}")
    lines.append(f"interpreter {task.interpreter}")
    if task.interpreter == "python3":
        lines.append(f"python {sys.version_info.major}.{sys.version_info.minor}")
    lines.append(f"dir {task.dir}")
    lines += [f"outputdir {path}" for path in task.outputdir]
    lines += [f"needs {text}" for text in sorted(node.staging)]
    if node.needs:
        lines += [
            f"sysroot_owner {path.decode()} {owner}"
            for path, owner in sorted(recipe.sysroot_owner.items())
        ]
    lines += [f"export {name}" for name in recipe.exports(task)]
    return "\n".join(lines) + "\n"


def output_paths(recipe: Recipe, node: Node) -> list[bytes]:
    """Return a task's output folders relative to WORKDIR. Raises RecipeError for invalid ones."""
    paths = []
    where = f"{recipe.path}: tasks.{node.task.name}.outputdir"
    for text in node.task.outputdir:
        value = (
            expand(text, recipe.variables, where=where, keep=("WORKDIR",))
            .removeprefix("${WORKDIR}/")
            .rstrip("/")
        )
        if "${" in value or any(part in ("", ".", "..") for part in value.split("/")):
            is_outside = value.startswith(("/", "../"))
            why = "is outside WORKDIR" if is_outside else "is not a folder below WORKDIR"
            raise RecipeError(f"{where}: {text!r} {why}", hint='use a path such as "image"')
        if value.partition("/")[0] in NEVER_RECORDED:
            raise RecipeError(
                f"{where}: {text!r} is reserved by prov", hint="use a different folder"
            )
        paths.append(os.fsencode(value))
    for one in paths:
        for other in paths:
            if one != other and other.startswith(one + b"/"):
                raise RecipeError(
                    f"{where}: {os.fsdecode(other)!r} is inside {os.fsdecode(one)!r}",
                    hint=f"remove {os.fsdecode(other)!r}",
                )
    return paths
