"""The history of builds: commits on the branch `builds`, whose trees list all tasks as text.

    tasks/RECIPE    a line for each task: TASK HASH OUTPUT RUN
    happened        a line for each task that was not up to date: RECIPE:TASK OUTCOME
    timeline        a line for each task that ran: RECIPE:TASK BEGAN SECONDS BYTES, where BEGAN is
                    in seconds since the start of the build
    reasons         a line for each task that ran: RECIPE:TASK REASON
    recipes         a line for each recipe: RECIPE VERSION
    about/RECIPE    the recipe's license, summary, supplier, purl and cpe, if it states them
    build           targets, result, times, counts, host
    bitbake/RECIPE  in BitBake builds: a line for each task, with its two hashes

Refs, not these lists, keep outputs from being collected.

A build of commands grows with each of its runs. Its commit is replaced, or, if other builds were
appended meanwhile, a new commit continues it: then the old commit is skipped.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from prov.errors import CHECK_STORE, RefConflict, StoreError
from prov.records.entries import EDGES
from prov.records.ids import CommitId, OutputId, TaskHash, TreeId
from prov.records.keys import TaskKey
from prov.records.keyvalue import decode_lines
from prov.records.record import read_edge_id
from prov.records.refs import BUILDS, LABELS, PINS, LabelRef
from prov.store.objects import MODE_DIRECTORY, MODE_FILE, Commit, Entry, Identity, Oid
from prov.store.odb import ObjectWriter
from prov.store.refs import RefUpdate, hash_in
from prov.store.repository import Store
from prov.text import one_line

NONE = "-"
"""The placeholder for a missing output or run in a line."""
ATTEMPTS = 100
"""Maximum attempts to append a build while other builds are being appended."""
ABOUT = "about"
"""The folder of texts that recipes state about themselves."""
COMMANDS = "command"
"""The fact `builder` of a build of commands without recipes."""
_CONTINUES = "Continues: "
"""The trailer of a build's message that names an earlier state of the same build."""
LOOK_BACK = 50
"""Maximum number of builds to search for one with a task."""


@dataclass(frozen=True, slots=True)
class Line:
    """A task in a build's list."""

    key: TaskKey
    task_hash: TaskHash
    output: OutputId | None
    run: int
    """The number of the run that produced the result; 0 if that run is not in the store."""


@dataclass(frozen=True, slots=True)
class Span:
    """The time and cost of a task's run."""

    key: TaskKey
    began: float
    """Seconds since the start of the build."""
    seconds: float
    added: int
    """Bytes added to the store."""


def encode_tasks(lines: Iterable[Line]) -> bytes:
    """Return one recipe's list."""
    texts = []
    for line in lines:
        output = line.output.hex() if line.output else NONE
        run = line.run or NONE
        texts.append(f"{line.key.task} {line.task_hash.hex()} {output} {run}\n")
    return "".join(texts).encode()


def decode_tasks(recipe: str, data: bytes) -> list[Line]:
    """Parse one recipe's list. Raises StoreError."""
    try:
        return [_line(recipe, text) for text in data.decode().split("\n") if text]
    except ValueError as error:
        raise StoreError(
            f"invalid task list of {recipe} in a build: {error}",
            hint=CHECK_STORE,
        ) from error


def _line(recipe: str, text: str) -> Line:
    task, task_hash, output, run = text.split(" ")
    return Line(
        TaskKey.of(recipe, task),
        TaskHash(_oid(task_hash)),
        None if output == NONE else OutputId(_oid(output)),
        0 if run == NONE else int(run),
    )


def _oid(text: str) -> Oid:
    if len(text) != 40:
        raise ValueError(f"{text!r} is not an id")
    return bytes.fromhex(text)


@dataclass(frozen=True, slots=True)
class Kept:
    """A task's state after the last build that had it."""

    task_hash: TaskHash
    output: OutputId
    own: frozenset[tuple[bytes, Oid]]
    """Names and ids of its own inputs: entries of the inputs tree."""
    after: Mapping[str, str]
    """Tasks it came after -> their task hashes in hex."""


@dataclass(slots=True)
class BuildList:
    """A recorded build, read on demand."""

    store: Store
    commit: CommitId
    _recipes: dict[str, dict[TaskKey, Line]] = field(default_factory=dict)
    _entries: dict[str, Oid] | None = None
    _before: BuildList | None = None
    _before_read: bool = False
    _of_commands: bool | None = None
    _continued: frozenset[CommitId] = frozenset()
    """Earlier states of this build and of later ones, which are not builds of their own."""

    @staticmethod
    def latest(store: Store) -> BuildList | None:
        commit = store.refs.get(BUILDS)
        return BuildList(store, CommitId(commit)) if commit else None

    @staticmethod
    def latest_of_tasks(store: Store) -> BuildList | None:
        """Return the last build of recipes or BitBake, after which commands may have run."""
        build = BuildList.latest(store)
        return build.before_of_tasks() if build is not None and build.is_of_commands else build

    def recipes(self) -> list[str]:
        return list(self._tree())

    def differing(self, other: BuildList) -> set[str]:
        """Return the recipes whose task lists differ, and those with failed tasks in `other`."""
        mine, others = self._tree(), other._tree()
        failed = {key.recipe for key, what in other.happened().items() if what.startswith("failed")}
        return {
            name for name in mine.keys() | others.keys() if mine.get(name) != others.get(name)
        } | failed

    def listed(self) -> list[tuple[str, Oid]]:
        """Return each recipe and the id of its list."""
        return list(self._tree().items())

    def facts(self) -> dict[str, str]:
        """Return the facts about the build as a whole: targets, result, seconds, counts, host."""
        return dict(line.partition(" ")[::2] for line in self._lines_of("build"))

    @property
    def is_of_commands(self) -> bool:
        """Whether the build lists runs of commands, not tasks of recipes."""
        if self._of_commands is None:
            self._of_commands = self.facts().get("builder") == COMMANDS
        return self._of_commands

    def happened(self) -> dict[TaskKey, str]:
        """Return task -> outcome, without tasks that were up to date."""
        return self._by_task("happened")

    def reasons(self) -> dict[TaskKey, str]:
        """Return task -> the plan's reason to run it, for tasks that ran."""
        return self._by_task("reasons")

    def versions(self) -> dict[str, str]:
        """Return recipe -> version."""
        return dict(line.partition(" ")[::2] for line in self._lines_of("recipes"))

    def about(self, recipe: str) -> dict[str, str]:
        """Return what a recipe stated about itself: license, summary, supplier, purl, cpe."""
        objects = self.store.objects
        entry = objects.entry(objects.commit(self.commit).tree, f"{ABOUT}/{recipe}")
        return decode_lines(objects.blob(entry.oid), " ") if entry else {}

    def timeline(self) -> list[Span]:
        """Return the time of each task that ran. Raises StoreError."""
        rows = (line.split(" ") for line in self._lines_of("timeline"))
        try:
            spans = [
                Span(TaskKey(key), float(began), float(seconds), int(added))
                for key, began, seconds, added in rows
            ]
        except ValueError as error:
            raise StoreError(
                f"invalid timeline in build {self.commit.hex()}: {error}", hint=CHECK_STORE
            ) from error
        return [span for span in spans if math.isfinite(span.began) and math.isfinite(span.seconds)]

    def seconds(self) -> float:
        """Return the duration of the build; 0 if it is not recorded, or not a duration."""
        try:
            seconds = float(self.facts().get("seconds", "0"))
        except ValueError:
            return 0.0
        return seconds if 0 <= seconds < math.inf else 0.0

    def _by_task(self, name: str) -> dict[TaskKey, str]:
        pairs = (line.partition(" ")[::2] for line in self._lines_of(name))
        return {TaskKey(key): text for key, text in pairs}

    def _lines_of(self, name: str) -> list[str]:
        entry = self.store.objects.entry(self.store.objects.commit(self.commit).tree, name)
        return (
            self.store.objects.blob(entry.oid).decode("utf-8", "replace").splitlines()
            if entry
            else []
        )

    def _tree(self) -> dict[str, Oid]:
        if self._entries is None:
            tasks = self.store.objects.entry(self.store.objects.commit(self.commit).tree, "tasks")
            listed = self.store.objects.tree(tasks.oid) if tasks else []
            self._entries = {os.fsdecode(entry.name): entry.oid for entry in listed}
        return self._entries

    def line(self, key: TaskKey) -> Line | None:
        """Return a task's line, or None."""
        return self.lines(key.recipe).get(key)

    def lines(self, recipe: str) -> dict[TaskKey, Line]:
        """Return a recipe's lines, by task."""
        by_task = self._recipes.get(recipe)
        if by_task is None:
            oid = self._tree().get(recipe)
            lines = decode_tasks(recipe, self.store.objects.blob(oid)) if oid else []
            by_task = self._recipes[recipe] = {line.key: line for line in lines}
        return by_task

    def before(self) -> BuildList | None:
        """Return the previous build, or None."""
        if not self._before_read:
            self._before = self._find_before()
            self._before_read = True
        return self._before

    def continued(self) -> list[CommitId]:
        """Return the commits of earlier states of this build, which are not builds."""
        return _continued_by(self.store.objects.commit(self.commit))

    def before_of_tasks(self) -> BuildList | None:
        """Return the previous build of recipes or BitBake, or None."""
        build = self.before()
        while build is not None and build.is_of_commands:
            build = build.before()
        return build

    def _find_before(self) -> BuildList | None:
        """Return the previous build, without earlier states of this build and of later ones."""
        commit, continued = self.store.objects.commit(self.commit), self._continued
        while True:
            continued |= set(_continued_by(commit))
            if not commit.parents:
                return None
            before = CommitId(commit.parents[0])
            if before not in continued:
                return BuildList(self.store, before, _continued=continued)
            commit = self.store.objects.commit(before)

    def newest_line(self, key: TaskKey) -> Line | None:
        """Return a task's line in this build, or in the last build before it that had the task.

        Builds of commands before this build are skipped.
        """
        build: BuildList | None = self
        for _ in range(LOOK_BACK):
            if build is None:
                break
            line = build.line(key)
            if line is not None:
                return line
            build = build.before_of_tasks()
        return None

    def kept(self, key: TaskKey) -> Kept | None:
        """Return a task's state when it was last built, or None if its inputs are not stored."""
        line = self.newest_line(key)
        if line is None or line.output is None or not self.store.objects.exists(line.task_hash):
            return None
        entries = self.store.objects.tree(line.task_hash)
        edges = {name.encode() for name in EDGES}
        own = frozenset((entry.name, entry.oid) for entry in entries if entry.name not in edges)
        after = [entry.oid for entry in entries if entry.name == b"after"]
        below = self.store.objects.tree(after[0]) if after else []
        names = {
            os.fsdecode(entry.name): read_edge_id(self.store.objects, entry.oid).hex()
            for entry in below
        }
        return Kept(line.task_hash, line.output, own, names)


def walk_builds(build: BuildList | None) -> Iterator[BuildList]:
    """Yield a build and all builds before it, newest first."""
    while build is not None:
        yield build
        build = build.before()


def record_build(
    store: Store,
    lines: Iterable[Line],
    happened: Mapping[TaskKey, str],
    facts: Mapping[str, str],
    author: Identity,
    *,
    timeline: Iterable[Span] = (),
    versions: Mapping[str, str] | None = None,
    reasons: Mapping[TaskKey, str] | None = None,
    more: Mapping[str, Mapping[str, bytes]] | None = None,
    label: str = "",
    continued: CommitId | None = None,
) -> CommitId:
    """Append a build to the history and return its commit.

    Builds that end at the same time are appended one after the other. `more` maps folder -> file ->
    text, for data of particular builders. A `label` is set to the build. `continued` is an earlier
    state of the build, which has the label; raises RefConflict if it has lost the label.
    """
    texts = {
        "build": [f"{name} {value}" for name, value in facts.items()],
        "happened": [f"{key} {what}" for key, what in sorted(happened.items())],
        "timeline": [
            f"{span.key} {span.began:.3f} {span.seconds:.3f} {span.added}" for span in timeline
        ],
        "recipes": [f"{name} {version}" for name, version in sorted((versions or {}).items())],
    }
    if reasons:
        texts["reasons"] = [f"{key} {one_line(reason)}" for key, reason in sorted(reasons.items())]
    files = {name: _text_of(rows) for name, rows in texts.items()}
    with store.objects.writer() as writer:
        folders = [Entry(b"tasks", MODE_DIRECTORY, writer.add_tree(_task_lists(writer, lines)))]
        for folder, contents in (more or {}).items():
            below = writer.add_tree(_files(writer, contents))
            folders.append(Entry(folder.encode(), MODE_DIRECTORY, below))
        tree = writer.add_tree([*folders, *_files(writer, files)])
        message = f"build of {facts.get('targets', '')}: {facts.get('result', '')}\n"
        return _append(store, writer, TreeId(tree), author, message, label, continued)


def _text_of(rows: Iterable[str]) -> bytes:
    return "".join(f"{row}\n" for row in rows).encode()


def _files(writer: ObjectWriter, contents: Mapping[str, bytes]) -> list[Entry]:
    return [
        Entry(name.encode(), MODE_FILE, writer.add("blob", content))
        for name, content in contents.items()
    ]


def _task_lists(writer: ObjectWriter, lines: Iterable[Line]) -> list[Entry]:
    """Write each recipe's list."""
    recipes: dict[str, list[Line]] = {}
    for line in lines:
        recipes.setdefault(line.key.recipe, []).append(line)
    contents = {
        recipe: encode_tasks(sorted(own, key=lambda line: line.key))
        for recipe, own in recipes.items()
    }
    return _files(writer, contents)


def _append(
    store: Store,
    writer: ObjectWriter,
    tree: TreeId,
    author: Identity,
    message: str,
    label: str,
    continued: CommitId | None,
) -> CommitId:
    """Move the branch to a new commit; retry if a different build moved it first."""
    name = str(LabelRef(label))
    for _ in range(ATTEMPTS):
        before = store.refs.get(BUILDS)
        parents: tuple[Oid, ...] = (before,) if before else ()
        text = message
        if continued is not None and before == continued and _is_only(store, continued, name):
            # the last build: replaced, so that a build of many runs does not have as many commits
            parents = store.objects.commit(continued).parents
            text += _trailers(store.objects.commit(continued))
        elif continued is not None:
            text += f"\n{_CONTINUES}{continued.hex()}\n"
        commit = CommitId(writer.add_commit(Commit(tree, parents, author, text)))
        writer.finish()
        labels = [RefUpdate(name, commit, continued)] if label else []
        try:
            store.refs.update(RefUpdate(BUILDS, commit, before), *labels)
        except RefConflict:
            if label and store.refs.get(name) != continued:
                raise
            continue
        return commit
    raise StoreError(
        f"cannot append the build: {BUILDS} keeps changing",
        hint="run the command again when fewer builds use this store",
    )


def _is_only(store: Store, build: CommitId, label: str) -> bool:
    """Return whether no other label and no pin refers to a build."""
    refs = store.refs.list(LABELS) | store.refs.list(PINS)
    return all(name == label for name, oid in refs.items() if oid == build)


def _continued_by(commit: Commit) -> list[CommitId]:
    """Return the commits of the earlier states of a build that its commit names."""
    lines = commit.message.split("\n")
    names = [line.removeprefix(_CONTINUES) for line in lines if line.startswith(_CONTINUES)]
    return [CommitId(oid) for oid in map(hash_in, names) if oid is not None]


def _trailers(commit: Commit) -> str:
    names = "".join(f"{_CONTINUES}{oid.hex()}\n" for oid in _continued_by(commit))
    return f"\n{names}" if names else ""
