"""What a task's run leaves in the store, and how it is found again.

    task commit     tree: the WORKDIR after the task; first parent: the WORKDIR before it
      second parent: the record commit, whose tree is
        inputs/       the tree whose id is the task hash
        output/       content/ and attributes/ of what the task gives to others
        attributes/   what git's modes lack of the WORKDIR, mtimes among it
        sysroot/      target/ and native/, as the task saw them
        log, environment, record
        definition   what it needs to be run again, and is in no hash; only of recipes' tasks

The output has a commit of its own, without parents and with constant author, date and message, so
that one output is one commit id everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from prov.errors import StoreError
from prov.records.keyvalue import decode_lines, encode_lines
from prov.store.objects import (
    CONSTANT_IDENTITY,
    EMPTY_TREE,
    MODE_DIRECTORY,
    MODE_FILE,
    Commit,
    Entry,
    Identity,
    Oid,
)
from prov.store.odb import ObjectWriter
from prov.store.refs import RefUpdate
from prov.store.repository import Store
from prov.worktree.attributes import EMPTY, Pair, TreeReader, TreeWriter

_ID = re.compile(rb"[0-9a-f]{40}|[0-9a-f]{64}")
EDGES = ("after", "from", "needs")
"""The entries of an inputs tree that hold edges to other tasks: a folder each, with a blob for each
edge.
"""
OUTPUT_MESSAGE = "output\n"
FIXED_MESSAGE = "output, of use in one place\n"
UNSIGNED_MESSAGE = "output, unsigned, from a remote\n"
OUTPUT_MESSAGES = (OUTPUT_MESSAGE, FIXED_MESSAGE, UNSIGNED_MESSAGE)
START_MESSAGE = "nothing\n"


def author(seconds: float) -> Identity:
    """Return the author of what is recorded at a time: not the user, whose name is nobody's
    business.
    """
    return Identity("prov", "prov@localhost", int(seconds))


def output_ref(key: str, task_hash: Oid) -> str:
    return f"refs/prov/output/{key.replace(':', '/')}/{task_hash.hex()}"


def static_ref(key: str, static_key: Oid) -> str:
    return f"refs/prov/static/{key.replace(':', '/')}/{static_key.hex()}"


def tag_prefix(key: str, task_hash: Oid, *, failed: bool = False) -> str:
    """Return a run's tag without its number."""
    return f"refs/tags/{'failed/' if failed else ''}{key.replace(':', '/')}/{task_hash.hex()}"


RECORDS = "refs/prov/record/"
"""Below it, named as tags are: the record of a run whose WORKDIR is not kept any more, or was
lost.
"""


def last_number(store: Store, key: str, task_hash: Oid, *, failed: bool = False) -> int:
    """Return the number of the last run of a task hash, 0 if there is none."""
    prefix = tag_prefix(key, task_hash, failed=failed)
    if failed:
        return store.refs.last_number(prefix)
    record, number = RECORDS + prefix.removeprefix("refs/tags/"), 0
    while any(store.refs.get(f"{top}/{number + 1}") is not None for top in (prefix, record)):
        number += 1
    return number


def workdir_ref(arch: str, recipe: str, chain: str, alias: str = "") -> str:
    """Return the ref of what a WORKDIR was last put to; `alias` keeps those of a build aside
    apart.
    """
    return f"refs/prov/{f'aside/{alias}' if alias else 'workdir'}/{arch}/{recipe}/{chain}"


@dataclass(frozen=True, slots=True)
class Output:
    """What a task gives to others, and the script that runs wherever it is put in place."""

    pair: Pair
    postprocess: bytes = b""
    fixed: bytes = b""
    """The paths of the only place where it can be used, if it holds one that could not be
    replaced.
    """

    @property
    def message(self) -> str:
        """Of its commit."""
        return FIXED_MESSAGE if self.fixed else OUTPUT_MESSAGE


def write_pair(writer: TreeWriter, pair: Pair, extra: Sequence[Entry] = ()) -> Oid:
    """Write the tree that holds a recorded directory whole."""
    entries = list(extra)
    if pair.tree != EMPTY_TREE:
        entries.append(Entry(b"content", MODE_DIRECTORY, pair.tree))
    if pair.attributes is not None:
        entries.append(Entry(b"attributes", MODE_DIRECTORY, pair.attributes))
    return writer.add_tree(entries)


def read_pair(reader: TreeReader, tree: Oid) -> Pair:
    """Return the recorded directory that `write_pair` or `write_output` wrote."""
    held = {entry.name: entry.oid for entry in reader.tree(tree)}
    return Pair(held.get(b"content", EMPTY_TREE), held.get(b"attributes"))


def read_id(reader: TreeReader, blob: Oid) -> Oid:
    """Return the id that a text in an inputs tree is. Raises StoreError for another text."""
    text = reader.blob(blob).strip()
    if not _ID.fullmatch(text):
        raise StoreError(
            f"{text[:80]!r} in a task's inputs is not an id",
            hint="don't trust the origin of that record",
        )
    return bytes.fromhex(text.decode("ascii"))


def write_output(writer: TreeWriter, output: Output) -> Oid:
    """Write an output's tree and return its id, the output id: a changed postprocess makes another
    output.
    """
    texts = {b"postprocess": output.postprocess, b"fixed": output.fixed}
    extra = [
        Entry(name, MODE_FILE, writer.add("blob", text)) for name, text in texts.items() if text
    ]
    return write_pair(writer, output.pair, extra)


def read_postprocess(reader: TreeReader, output: Oid) -> bytes:
    """Return an output's postprocess script, empty if it has none."""
    return _text(reader, output, b"postprocess")


def _text(reader: TreeReader, output: Oid, name: bytes) -> bytes:
    return next(
        (reader.blob(entry.oid) for entry in reader.tree(output) if entry.name == name), b""
    )


@dataclass(frozen=True, slots=True)
class Start:
    """A WORKDIR before a task: its commit, and what is in it."""

    commit: Oid
    pair: Pair


def empty_start(writer: ObjectWriter) -> Start:
    """Return the constant start of a task that takes over nothing."""
    return Start(writer.add_commit(Commit(EMPTY_TREE, (), CONSTANT_IDENTITY, START_MESSAGE)), EMPTY)


@dataclass(frozen=True, slots=True)
class Run:
    """What happened when a task ran."""

    key: str
    task_hash: Oid
    start: Start
    after: Pair
    output: Output | None
    """None when the task failed."""
    log: bytes
    environment: Mapping[str, str]
    facts: Mapping[str, str]
    """Times, exit status, sandbox, host and the like: one line each in the record."""
    sysroots: Mapping[str, Pair] = field(default_factory=dict)
    definition: bytes = b""
    extra: Mapping[str, Pair | Oid | str] = field(default_factory=dict)
    """More entries of the record, by names that nothing above has: directories, trees, texts."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A run in the store."""

    commit: Oid
    output: Oid
    output_commit: Oid


def write_run(writer: ObjectWriter, run: Run, by: Identity) -> Recorded:
    """Write a run's objects; refs are the caller's."""
    output = write_output(writer, run.output or Output(EMPTY))
    facts = {"task": run.key, "task-hash": run.task_hash.hex(), **run.facts}
    entries = [
        Entry(b"inputs", MODE_DIRECTORY, run.task_hash),
        Entry(b"log", MODE_FILE, writer.add("blob", run.log)),
        Entry(b"environment", MODE_FILE, writer.add("blob", encode_lines(run.environment, "="))),
        Entry(b"record", MODE_FILE, writer.add("blob", encode_lines(facts, " "))),
    ]
    if run.definition:
        entries.append(Entry(b"definition", MODE_FILE, writer.add("blob", run.definition)))
    if run.output is not None:
        entries.append(Entry(b"output", MODE_DIRECTORY, output))
    if run.after.attributes is not None:
        entries.append(Entry(b"attributes", MODE_DIRECTORY, run.after.attributes))
    seen = [
        Entry(name.encode(), MODE_DIRECTORY, write_pair(writer, pair))
        for name, pair in run.sysroots.items()
    ]
    if seen:
        entries.append(Entry(b"sysroot", MODE_DIRECTORY, writer.add_tree(seen)))
    for name, value in run.extra.items():
        if isinstance(value, str):
            text = value.encode("utf-8", "surrogateescape")
            entries.append(Entry(name.encode(), MODE_FILE, writer.add("blob", text)))
        else:
            tree = write_pair(writer, value) if isinstance(value, Pair) else value
            entries.append(Entry(name.encode(), MODE_DIRECTORY, tree))
    record = writer.add_commit(Commit(writer.add_tree(entries), (), by, f"record of {run.key}\n"))
    status = "" if run.output is not None else " (failed)"
    message = f"{run.key}{status}\n\nTask-Hash: {run.task_hash.hex()}\n"
    commit = writer.add_commit(Commit(run.after.tree, (run.start.commit, record), by, message))
    message = run.output.message if run.output else OUTPUT_MESSAGE
    output_commit = writer.add_commit(Commit(output, (), CONSTANT_IDENTITY, message))
    return Recorded(commit, output, output_commit)


def write_found(writer: ObjectWriter, pair: Pair, before: Oid, by: Identity, message: str) -> Oid:
    """Write the commit of a directory that no task made: its content, its attributes, and what it
    was before.
    """
    entries = (
        [Entry(b"attributes", MODE_DIRECTORY, pair.attributes)]
        if pair.attributes is not None
        else []
    )
    record = writer.add_commit(Commit(writer.add_tree(entries), (), by, "attributes\n"))
    return writer.add_commit(Commit(pair.tree, (before, record), by, f"{message}\n"))


@dataclass(slots=True)
class Records:
    """Finds what was recorded. Refs and objects alone decide."""

    store: Store
    places: Callable[[str], bytes] | None = None
    """Task -> the paths of its place, which an output may be tied to; None: whatever is recorded
    counts.
    """
    takes: Callable[[str, Oid], bool] = lambda _key, _output: True
    """Task and unsigned output from a remote -> whether it may be used."""
    _outputs: dict[Oid, Commit] = field(default_factory=dict)

    def output(self, key: str, task_hash: Oid) -> Oid | None:
        """Return the id of the output that a task hash led to."""
        return self._output_of(key, self.store.refs.get(output_ref(key, task_hash)))

    def static_output(self, key: str, static_key: Oid) -> Oid | None:
        """Return the id of the output last recorded under a static key."""
        return self._output_of(key, self.store.refs.get(static_ref(key, static_key)))

    def _output_of(self, key: str, oid: Oid | None) -> Oid | None:
        if oid is None:
            return None
        commit = self._outputs.get(oid)
        if commit is None:
            commit = self._outputs[oid] = self.store.objects.commit(oid)
        if commit.message != OUTPUT_MESSAGE and self.places is not None:
            fixed = _text(self.store.objects, commit.tree, b"fixed")
            if fixed and fixed != self.places(key):
                return None
        if commit.message == UNSIGNED_MESSAGE and not self.takes(key, commit.tree):
            return None
        return commit.tree

    def last_run(self, key: str, task_hash: Oid, *, failed: bool = False) -> tuple[int, Oid | None]:
        """Return number and commit of the last run of a task hash; (0, None) if none is recorded
        here.
        """
        number = last_number(self.store, key, task_hash, failed=failed)
        tag = f"{tag_prefix(key, task_hash, failed=failed)}/{number}"
        return number, self.store.refs.get(tag) if number else None

    def away(self, key: str, task_hash: Oid) -> bool:
        """Tell whether an output is at a remote only: these records know of none."""
        return False

    def static_away(self, key: str, static_key: Oid) -> Oid | None:
        return None

    def workdir_away(self, key: str, task_hash: Oid) -> bool:
        return False

    def why_no_workdir(self, key: str, task_hash: Oid) -> str:
        """Return in words why the WORKDIR of a task hash, whose output is recorded, is not here."""
        record = RECORDS + tag_prefix(key, task_hash).removeprefix("refs/tags/")
        kept = self.store.refs.list(f"{record}/")
        if not kept:
            return "its WORKDIR was never recorded here"
        here = any(
            "workdir" in self.facts(commit) for commit in kept.values()
        )  # which is not published
        return (
            "its WORKDIR was collected"
            if here
            else "its WORKDIR stayed on the machine where it ran"
        )

    def workdir(self, commit: Oid) -> Pair:
        """Return the WORKDIR that a task commit (or one of changes made outside any task) holds."""
        held = self.store.objects.commit(commit)
        if len(held.parents) < 2:
            return Pair(held.tree, None)
        record = self.store.objects.commit(held.parents[1])
        attributes = self.store.objects.entry(record.tree, "attributes")
        return Pair(held.tree, attributes.oid if attributes else None)

    def record_entry(self, commit: Oid, name: str) -> bytes:
        """Return a text of a task commit's record (`log`, `environment`, `record`), empty if it has
        none.
        """
        entry = self.store.objects.entry(self.record_tree(commit), name)
        return self.store.objects.blob(entry.oid) if entry else b""

    def record_tree(self, commit: Oid) -> Oid:
        """Return the tree of the record that a task commit holds; a commit without one may be a
        record itself.
        """
        held = self.store.objects.commit(commit)
        return (
            self.store.objects.commit(held.parents[1]).tree if len(held.parents) > 1 else held.tree
        )

    def facts(self, commit: Oid) -> dict[str, str]:
        """Return what a record says of a run: its task, result, times, host, folders."""
        return decode_lines(self.record_entry(commit, "record"), " ")

    def environment(self, commit: Oid) -> dict[str, str]:
        """Return the environment that a run had, as far as it is recorded."""
        return decode_lines(self.record_entry(commit, "environment"), "=")


def tag_update(
    store: Store, key: str, task_hash: Oid, commit: Oid, *, failed: bool = False
) -> RefUpdate:
    """Return the creation of the tag for a new run, under the next number."""
    prefix = tag_prefix(key, task_hash, failed=failed)
    return RefUpdate(
        f"{prefix}/{last_number(store, key, task_hash, failed=failed) + 1}", commit, None
    )
