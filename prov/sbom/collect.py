"""Collect a bill of materials from the records of a build."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from prov.errors import CHECK_STORE, StoreError
from prov.records.build_list import BuildList
from prov.records.entries import FROM
from prov.records.keys import TaskKey
from prov.sbom.bill import Bill, BilledFile, Purpose
from prov.sbom.contents import ContentFacts, ContentReader
from prov.sbom.encoding import is_time, quoted
from prov.sbom.files_read import FilesRead, FilesReader
from prov.sbom.origins import Origin, Origins
from prov.sbom.parts import Parts, own_inputs
from prov.sbom.refs import file_ref, image_ref, text_of
from prov.sbom.task_graph import GraphRun, TaskGraph, TaskId
from prov.store.objects import MODE_DIRECTORY, Oid
from prov.worktree.attributes import FileNode, walk

SOURCE_TASKS = frozenset(("fetch", "unpack", "extract", "patch"))
"""Names of tasks whose files are source files: prov's, BitBake's with `do_`, and Buildroot's."""


def collect(build: BuildList, targets: Sequence[TaskKey]) -> Bill:
    """Return the bill of materials of a build's targets. Raises StoreError for invalid records."""
    try:
        return _Collector(TaskGraph(build.store, build), tuple(targets)).bill()
    except RecursionError as error:
        raise StoreError(
            "a file was copied by too many tasks, one after the other", hint=CHECK_STORE
        ) from error


@dataclass(frozen=True, slots=True)
class _Content:
    """The files of a target, by their paths in the WORKDIR of a task."""

    run: GraphRun
    nodes: dict[bytes, FileNode]
    origins: dict[bytes, Origin]


@dataclass(slots=True)
class _Collector:
    graph: TaskGraph
    targets: tuple[TaskKey, ...]
    origins: Origins = field(init=False)
    reader: FilesReader = field(init=False)
    read: dict[TaskId, FilesRead] = field(default_factory=dict)
    """Task that made files -> what it read."""
    stated: dict[Origin, tuple[Origin, ...]] = field(default_factory=dict)
    """Made file -> the files that depfiles state for it."""
    refs: dict[Origin, str] = field(default_factory=dict)
    """File -> its ref; a file of the target stands for the place where it was made."""
    facts: dict[Oid, ContentFacts] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.origins = Origins(self.graph)
        self.reader = FilesReader(self.graph, self.origins)

    def bill(self) -> Bill:
        build, store = self.graph.build, self.graph.store
        runs = [run for run in map(self.graph.target, self.targets) if run is not None]
        behind = self.graph.behind(runs)
        contents = list(self.contents(runs))
        self.follow({origin for content in contents for origin in content.origins.values()})
        self.facts = ContentReader(store).read(self.oids(contents, behind))
        parts = Parts(self.graph, self.facts, self.refs, self.read)
        self.name_image_files(contents)
        files = [*self.image_files(contents), *self.other_files()]
        files += [patch for run in behind for patch in parts.patches(run)]
        made = self.made()
        name = quoted(",".join(self.targets), ":,")
        return Bill(
            ref=f"urn:prov:sbom:{build.commit.hex()}:{name}",
            name=", ".join(dict.fromkeys(key.recipe for key in self.targets)),
            version=build.versions().get(self.targets[0].recipe, ""),
            build=build.commit.hex(),
            created=self.created(),
            targets=self.targets,
            files=tuple(files),
            packages=tuple(parts.packages(build, behind, files)),
            folders=tuple(parts.folders(behind)),
            tasks=tuple(parts.task(run, made.get(run.id, ())) for run in behind),
        )

    def created(self) -> int:
        """Return the start of the build. Raises StoreError if it is not a time."""
        seconds = self.graph.store.objects.commit(self.graph.build.commit).author.seconds
        if not is_time(seconds):
            raise StoreError(f"invalid time of a build: {seconds}", hint=CHECK_STORE)
        return seconds

    def contents(self, runs: Iterable[GraphRun]) -> Iterator[_Content]:
        """Yield the files of targets.

        If a target made files itself, such as an image or a package, the files inside these are
        the outputs of its own recipe from which it started, except sources.
        """
        for run in runs:
            content = self.content(run)
            yield content
            if not any(_is_made_by(run, origin) for origin in content.origins.values()):
                continue
            for edge in run.edges:
                is_own = edge.kind == FROM and edge.task.key.recipe == run.key.recipe
                if is_own and not _has_sources(edge.task):
                    yield self.content(self.graph.run(edge.task))

    def content(self, run: GraphRun) -> _Content:
        entries = walk(self.graph.store.objects, self.graph.output(run))
        nodes = {path: node for path, node in entries if stat.S_ISREG(node.mode)}
        oids = {path: node.oid for path, node in nodes.items()}
        return _Content(run, nodes, self.origins.of(run, oids))

    def follow(self, pending: set[Origin]) -> None:
        """Find what was read to make files, what was read to make these, and so on."""
        visited: set[Origin] = set()
        while pending:
            visited |= pending
            made = [origin for origin in sorted(pending) if not is_source(origin)]
            pending = {used for origin in made for used in self.used(origin)} - visited
        self.refs = {origin: file_ref(origin) for origin in visited}

    def used(self, origin: Origin) -> Iterator[Origin]:
        """Yield what was read to make a file, once for each task."""
        if origin.task not in self.read:
            self.read[origin.task] = self.reader.of_task(self.graph.run(origin.task))
            yield from self.read[origin.task].origins
        self.stated[origin] = self.reader.of_file(origin)
        yield from self.stated[origin]

    def oids(self, contents: Iterable[_Content], runs: Iterable[GraphRun]) -> Iterator[Oid]:
        """Yield the contents of all files in the bill."""
        for content in contents:
            yield from (node.oid for node in content.nodes.values())
        yield from (origin.oid for origin in self.refs)
        for run in runs:
            named = [*own_inputs(run, "source"), *own_inputs(run, "patch")]
            yield from (entry.oid for _, entry in named if entry.mode != MODE_DIRECTORY)

    def name_image_files(self, contents: Iterable[_Content]) -> None:
        """Let files of the target stand for the places where they were made, the first of each."""
        for content in contents:
            for path, origin in sorted(content.origins.items()):
                if self.refs[origin] == file_ref(origin) and not is_source(origin):
                    self.refs[origin] = image_ref(content.run.id, path)

    def image_files(self, contents: Iterable[_Content]) -> Iterator[BilledFile]:
        """Yield the files of the target."""
        for content in contents:
            for path, node in sorted(content.nodes.items()):
                ref, origin = image_ref(content.run.id, path), content.origins[path]
                file = self.file(origin, ref, text_of(path), "image", node)
                if self.refs[origin] != ref:
                    file = replace(file, origin=self.refs[origin], sources=())
                yield file

    def other_files(self) -> Iterator[BilledFile]:
        """Yield the files outside the target."""
        for origin, ref in sorted(self.refs.items()):
            if ref == file_ref(origin):
                node = FileNode(stat.S_IFREG, origin.oid)
                yield self.file(origin, ref, text_of(origin.path), _purpose(origin), node)

    def file(
        self, origin: Origin, ref: str, path: str, purpose: Purpose, node: FileNode
    ) -> BilledFile:
        return BilledFile(
            ref=ref,
            path=path,
            recipe=origin.task.key.recipe,
            purpose=purpose,
            oid=node.oid,
            facts=self.facts[node.oid],
            sources=tuple(sorted(self.refs[used] for used in self.stated.get(origin, ()))),
            has_tokens=bool(node.fixme),
            is_executable=bool(node.mode & 0o111),
        )

    def made(self) -> dict[TaskId, list[Origin]]:
        """Return task -> the files that it made."""
        made: dict[TaskId, list[Origin]] = {}
        for origin in self.refs:
            if not origin.is_start:
                made.setdefault(origin.task, []).append(origin)
        return made


def is_source(origin: Origin) -> bool:
    """Return whether a file is not made from other recorded files."""
    return origin.is_start or _has_sources(origin.task)


def _has_sources(task: TaskId) -> bool:
    """Return whether the files of a task are source files."""
    return task.key.task.removeprefix("do_") in SOURCE_TASKS


def _purpose(origin: Origin) -> Purpose:
    """Return the purpose of a file outside the target."""
    if origin.is_start:
        return "start"
    return "source" if is_source(origin) else "built"


def _is_made_by(run: GraphRun, origin: Origin) -> bool:
    return origin.task == run.id and not origin.is_start
