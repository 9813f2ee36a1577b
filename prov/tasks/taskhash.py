"""The task hash: the id of the tree that holds all of a task's inputs, and nothing else.

    task                 name, architecture, interpreter, folders, what is exported
    script, postprocess  texts
    functions/NAME       texts of those that the script reaches
    variables/NAME       unexpanded values of those that are reached
    sources/…            contents, or the checksum that pins them
    patches/NNNN-NAME    contents
    host-toolchain       the id of the tree of host tools
    environment          variables that the project lets through from the caller
    capture              what prov.toml excludes from captures, and which xattrs it adds
    after/TASK           task hash of a task whose WORKDIR is taken over
    from/TID, needs/TID  output id of a task whose output is taken

What is different between two hashes is the diff of two trees. The static key is the id of the same
tree with the dependencies' static keys for edges: known after parsing, before anything has run.
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
from prov.files import read_cache, write_cache
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
from prov.worktree.snapshot import TICK_NS, capture, remember

NO_TOOLCHAIN = Toolchain(EMPTY_TREE, ())


@lru_cache(maxsize=1 << 16)
def _blob_id(data: bytes) -> Oid:
    return object_id("blob", data)


class HashOnly:
    """Takes objects as a writer does and only tells their ids."""

    def add(self, kind: Kind, data: bytes) -> Oid:
        return _blob_id(data) if kind == "blob" else object_id(kind, data)

    def add_tree(self, entries: list[Entry]) -> Oid:
        return object_id("tree", encode_tree(entries))


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A source or patch from disk, captured: what is put into the WORKDIR is what was hashed."""

    name: str
    node: FileNode


@dataclass(frozen=True, slots=True)
class OwnInputs:
    """A task's inputs without its edges: the entries of the inputs tree, and the local files behind
    them.
    """

    entries: tuple[Entry, ...]
    reached: Reached
    toolchain: Toolchain = NO_TOOLCHAIN
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables of the caller that the task gets."""
    capture: str = ""
    """What its captures leave out, and which extended attributes they have: prov.toml's words."""
    sources: tuple[LocalFile, ...] = ()
    patches: tuple[LocalFile, ...] = ()


def task_hash(sink: TreeWriter, own: OwnInputs, edges: Mapping[str, Mapping[str, str]]) -> TaskHash:
    """Return the id of a task's inputs tree, written to `sink`.

    `edges` is kind -> name -> hex id.
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
    """Gathers tasks' own inputs; captures local sources into the store on the way."""

    store: Store
    writer: ObjectWriter
    toolchain: Callable[[tuple[str, ...], str], Toolchain]
    """Host tools and who asks -> the captured tree."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables of the caller that reach tasks: inputs, but for tasks with the network, which may
    need proxies.
    """
    capture: str = ""
    """What prov.toml says of what is captured: which paths not, which attributes."""
    allowed: Collection[str] = ()
    """Names of the caller's variables that reach tasks where they are set."""
    own_folders: Sequence[Path] = ()
    """The store and the build directory: no part of a source that holds them."""
    _files: dict[tuple[Path, tuple[str, ...], bool], FileNode] = field(default_factory=dict)
    _tools: dict[tuple[str, str, tuple[str, ...]], tuple[str, ...]] = field(default_factory=dict)

    def own(self, node: Node, sink: TreeWriter) -> OwnInputs:
        """Return a node's own inputs, their texts written to `sink`."""
        recipe, task = node.recipe, node.task
        output_paths(recipe, node)  # a folder outside WORKDIR is refused before anything runs
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
        """Yield the entries of what the caller and prov.toml set for all tasks."""
        if self.environment and not node.task.network:
            lines = encode_lines(dict(sorted(self.environment.items())), "=")
            yield Entry(b"environment", MODE_FILE, sink.add("blob", lines))
        if self.capture:
            yield _text(sink, "capture", self.capture)

    def tools(self, node: Node) -> tuple[str, ...]:
        """Return the host tools of a task: those that every task has, and its own."""
        recipe = node.recipe
        every, toolchain = (
            recipe.variables[name].value if name in recipe.variables else ""
            for name in ("HOSTTOOLS", "HOSTTOOLS_TOOLCHAIN")
        )
        key = (every, toolchain, (node.task.interpreter, *node.task.hosttools))
        known = self._tools.get(key)
        if known is None:
            names: list[str] = every.split()
            if node.task.interpreter == "python3":
                names += interpreter_tools()
            for tool in node.task.hosttools:
                names += toolchain.split() if tool == TOOLCHAIN else [tool]
            # what is asked for without ? by one is required
            required = {name for name in names if not name.endswith("?")}
            wanted = {name for name in names if name.removesuffix("?") not in required} | required
            known = self._tools[key] = tuple(sorted(wanted))
        return known

    def _sources(self, recipe: Recipe) -> tuple[LocalFile, ...]:
        found = []
        for source in recipe.sources:
            if source.file is not None:
                if not source.file.exists():
                    raise RecipeError(
                        f"{recipe.path}: sources: there is no {source.file}",
                        hint="relative to the recipe; was it fetched?",
                    )
                if source.sha256 and source.file.is_dir():
                    raise RecipeError(
                        f"{recipe.path}: sources: {source.file} is a folder, which has no sha256"
                    )
                where = f"{recipe.path}: sources"
                found.append(LocalFile(source.name, self._capture(source.file, source, where)))
        return tuple(found)

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
        """Record a local file or folder; remembered by stat in the store's cache."""
        rules = (source.exclude, source.gitignore) if source is not None else ((), False)
        known = self._files.get((path, *rules))
        if known is None:
            captured = (
                self._capture_folder(path, *rules, where)
                if path.is_dir()
                else self._capture_file(path)
            )
            known = self._files[path, *rules] = captured
        return known

    def _capture_folder(
        self, path: Path, patterns: tuple[str, ...], gitignore: bool, where: str
    ) -> FileNode:
        top = path.resolve()
        for own in self.own_folders:
            if top.is_relative_to(own.resolve()):
                raise RecipeError(
                    f"{where}: {path} is in {own}, which builds write to",
                    hint="name a folder outside it",
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
    """Give a folder of sources the modes that git would: the rest is the umask of whoever checked
    it out.
    """
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
    """Yield what stands for a source in the inputs tree: its content, or what it is pinned to."""
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
    """Return what stands for a source whose content is fixed by a checksum: where it comes from
    does not matter.
    """
    return f"git {source.commit}\n" if source.git else f"sha256 {source.sha256}\n"


def task_text(node: Node) -> str:
    """Return what a task is called and what it declares, as the inputs tree has it."""
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
    """Return a task's output folders relative to WORKDIR.

    Raises RecipeError for one that is not below it.
    """
    paths = []
    for text in node.task.outputdir:
        where = f"{recipe.path}: tasks.{node.task.name}: outputdir"
        value = (
            expand(text, recipe.variables, where=where, keep=("WORKDIR",))
            .removeprefix("${WORKDIR}/")
            .rstrip("/")
        )
        if "${" in value or any(part in ("", ".", "..") for part in value.split("/")):
            raise RecipeError(
                f"{where}: {text!r} is not a folder below WORKDIR",
                hint='a relative path, as in "image"',
            )
        if value.partition("/")[0] in NEVER_RECORDED:
            raise RecipeError(
                f"{where}: {text!r} is a folder of prov's own", hint="give it another name"
            )
        paths.append(os.fsencode(value))
    for one in paths:
        for other in paths:
            if one != other and other.startswith(one + b"/"):
                raise RecipeError(
                    f"{recipe.path}: tasks.{node.task.name}: outputdir: one folder is inside"
                    " another"
                )
    return paths
