"""List a recorded file's versions across builds, and the version that introduced each line."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from prov.errors import NameUnknown
from prov.history.builds import find_build
from prov.history.file_names import FileName, node_in
from prov.history.names import RunName, run_in
from prov.records.build_list import BuildList, walk_builds
from prov.records.ids import CommitId
from prov.records.keys import TaskKey
from prov.records.labels import LATEST
from prov.records.output import read_pair
from prov.store.objects import Oid
from prov.store.repository import Store
from prov.worktree.attributes import FileNode, at_path

MANY_LINES = 2000


def built_run(store: Store, key: TaskKey) -> RunName:
    """Return the run of a task in the last build that has the task. Raises NameUnknown."""
    latest = find_build(store, LATEST)
    having = (build for build in walk_builds(latest) if build.line(key) is not None)
    return run_in(next(having, latest), key)


@dataclass(frozen=True, slots=True)
class Version:
    """A file's content from one build until the next version."""

    build: CommitId
    seconds: int
    """Start time of the build, in seconds since the epoch."""
    node: FileNode | None
    """None if the task's output did not have the file."""


def versions(store: Store, file: FileName, *, until: str = LATEST) -> Iterator[Version]:
    """Yield a file's versions across builds, the newest first.

    Builds are read lazily.
    """
    nodes: dict[Oid, FileNode | None] = {}
    oldest: tuple[BuildList, FileNode | None] | None = None
    for build in walk_builds(find_build(store, until)):
        line = build.line(file.key)
        if line is None or line.output is None:
            continue
        source = line.output if file.part == "output" else line.task_hash
        if source not in nodes:
            nodes[source] = _in_build(store, build, file)
        node = nodes[source]
        if oldest is not None and _content(node) != _content(oldest[1]):
            yield _version(*oldest)
        oldest = build, node
    if oldest is not None and oldest[1] is not None:
        yield _version(*oldest)


def _content(node: FileNode | None) -> object:
    """Return the value that distinguishes versions."""
    return node.same_content if node is not None else None


def _version(build: BuildList, node: FileNode | None) -> Version:
    return Version(build.commit, build.store.objects.commit(build.commit).author.seconds, node)


def _in_build(store: Store, build: BuildList, file: FileName) -> FileNode | None:
    line = build.line(file.key)
    if file.part == "output" and line is not None and line.output is not None:
        return at_path(store.objects, read_pair(store.objects, line.output), file.path)
    try:
        return node_in(store, file, run_in(build, file.key))
    except NameUnknown:
        return None


@dataclass(frozen=True, slots=True)
class BlamedLine:
    """A line of a text, and the version that introduced it."""

    version: int
    """Index in the list of versions."""
    text: str


def blame_lines(texts: Sequence[str]) -> list[BlamedLine]:
    """Return the lines of the last text, each with the index of the text that introduced it.

    Line endings are compared too.
    """
    blamed: list[BlamedLine] = []
    for number, text in enumerate(texts):
        lines = text.splitlines(keepends=True)
        # in long texts, frequent lines do not start a match: that would take quadratic time
        many = len(lines) > MANY_LINES
        before = [line.text for line in blamed]
        matcher = difflib.SequenceMatcher(None, before, lines, autojunk=many)
        blamed = list(_blend(blamed, lines, matcher, number))
    return blamed


def _blend(
    before: list[BlamedLine], lines: list[str], matcher: difflib.SequenceMatcher[str], number: int
) -> Iterator[BlamedLine]:
    for tag, low, high, start, end in matcher.get_opcodes():
        if tag == "equal":
            yield from before[low:high]
        else:
            yield from (BlamedLine(number, text) for text in lines[start:end])
