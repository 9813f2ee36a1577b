"""Read runs from the store as rows of tables, each kind of object in one pass.

A run whose record is missing or malformed gets a row with a `problem` and without details, so one
bad record neither hides other runs nor disappears itself.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from prov.progress import report
from prov.query.inputs import add_inputs
from prov.query.schema import absent, has_table
from prov.records.entries import ATTRIBUTES, CONTENT, FACTS, FIXED, OUTPUT, POSTPROCESS
from prov.records.entries import READS as READS_ENTRY
from prov.records.keyvalue import decode_lines
from prov.records.record import record_in
from prov.records.refs import OWN, TAGS, RecordRef, RunRef, parse_ref
from prov.store.objects import Oid, decode_commit, decode_tree
from prov.store.repository import Store

CHUNK = 20_000
"""The number of runs read at a time: their objects are in memory."""
_FACTS = frozenset(("began", "seconds", "result", "host"))
"""The facts of a record that are columns."""
_PROBLEM = "its record is missing or malformed"


class RunLine(NamedTuple):
    """A ref of a run, and the commit that it names."""

    tag: str
    """The name of the run: `zlib/compile/HASH/1`, `failed/…` or `record/…`."""
    ref: RunRef | RecordRef
    oid: Oid

    @staticmethod
    def parse(line: bytes) -> RunLine | None:
        """Parse a line `ID NAME`; return None for another ref. prov's names are ASCII."""
        try:
            oid, name = bytes.fromhex(line[:40].decode("ascii")), line[41:].decode("ascii")
        except ValueError:
            return None
        ref = parse_ref(name)
        if not isinstance(ref, RunRef | RecordRef):
            return None
        return RunLine(name.removeprefix(TAGS).removeprefix(OWN), ref, oid)


@dataclass(slots=True)
class _Run:
    """A run while its objects are read."""

    line: RunLine
    record: Oid | None = None
    ended: int | None = None
    tree: Oid | None = None
    parts: dict[bytes, Oid] | None = None
    facts: dict[str, str] | None = None

    def part(self, name: bytes) -> Oid | None:
        return self.parts.get(name) if self.parts else None

    @property
    def output(self) -> Oid | None:
        return self.part(OUTPUT)


def add_runs(store: Store, database: sqlite3.Connection, lines: Iterable[bytes]) -> None:
    """Insert the runs of some lines of refs, with their inputs and outputs."""
    # neighbours share inputs; tags are distinct, so nothing else is compared
    parsed = sorted(filter(None, map(RunLine.parse, lines)))
    for begin in range(0, len(parsed), CHUNK):
        report("reading runs", begin, len(parsed))
        _add_chunk(store, database, parsed[begin : begin + CHUNK])


def _add_chunk(store: Store, database: sqlite3.Connection, lines: Sequence[RunLine]) -> None:
    read = [_Run(line, line.oid if isinstance(line.ref, RecordRef) else None) for line in lines]
    _read_commits(store, read)
    _read_records(store, read)
    runs = [run for run in read if run.facts is not None or _is_current(store, run.line)]
    database.executemany(
        "insert into runs (tag, recipe, task, task_hash, number, failed, ended, began, seconds,"
        " result, host, output, workdir_commit, record_commit, reads_id, problem)"
        " values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        map(_row, runs),
    )
    if has_table(database, "inputs"):
        hashes = {run.line.ref.task_hash: run.line.ref.key for run in runs}
        add_inputs(store, database, hashes)
    _add_outputs(store, database, {run.output for run in runs if run.output is not None})


def _is_current(store: Store, line: RunLine) -> bool:
    """Return whether a ref still exists: a collection may have deleted it and its objects."""
    return store.refs.get(str(line.ref)) == line.oid


def _read_commits(store: Store, runs: Sequence[_Run]) -> None:
    """Find the record of each run, and when the run ended."""
    for run, content in _contents(store, runs, lambda run: run.line.oid):
        try:
            commit = decode_commit(content)
        except ValueError:
            continue
        run.ended = storable(commit.author.seconds)
        if run.record is None:
            run.record = record_in(commit)
        else:
            run.tree = commit.tree


def _read_records(store: Store, runs: Sequence[_Run]) -> None:
    """Read the parts and the facts of each record."""
    for run, content in _contents(store, runs, lambda run: None if run.tree else run.record):
        run.tree = _tree_of(content)
    for run, content in _contents(store, runs, lambda run: run.tree):
        run.parts = _parts(content)
    for run, content in _contents(store, runs, lambda run: run.part(FACTS)):
        run.facts = decode_lines(content, " ", _FACTS)


def _contents(
    store: Store, runs: Sequence[_Run], part: Callable[[_Run], Oid | None]
) -> Iterator[tuple[_Run, bytes]]:
    """Yield runs with the content of one of their objects, without those that have none."""
    pairs = [(run, oid) for run in runs if (oid := part(run)) is not None]
    contents = store.objects.read_many([oid for _, oid in pairs])
    for (run, _), content in zip(pairs, contents, strict=True):
        if content is not None:
            yield run, content


def _tree_of(commit: bytes) -> Oid | None:
    """Return the tree of a commit's content, in its first line; None for a malformed commit."""
    line, _, _ = commit.partition(b"\n")
    try:
        return bytes.fromhex(line[5:].decode("ascii")) if line[:5] == b"tree " else None
    except ValueError:
        return None


def _parts(tree: bytes) -> dict[bytes, Oid] | None:
    try:
        return {entry.name: entry.oid for entry in decode_tree(tree)}
    except ValueError:
        return None


def _row(run: _Run) -> tuple[object, ...]:
    ref, facts = run.line.ref, run.facts or {}
    reads = run.part(READS_ENTRY)
    has_workdir = isinstance(ref, RunRef)
    return (
        run.line.tag,
        ref.key.recipe,
        ref.key,
        ref.task_hash.hex(),
        ref.number,
        int(isinstance(ref, RunRef) and ref.failed),
        run.ended,
        number_in(facts, "began"),
        number_in(facts, "seconds"),
        plain(facts.get("result")),
        plain(facts.get("host")),
        run.output.hex() if run.output is not None else None,
        run.line.oid.hex() if has_workdir else None,
        run.record.hex() if run.record is not None else None,
        reads.hex() if reads is not None else None,
        _PROBLEM if run.facts is None else None,
    )


def number_in(facts: dict[str, str], name: str) -> float | None:
    """Return a finite number among facts, None if it is missing or malformed."""
    try:
        number = float(facts[name])
    except (KeyError, ValueError):
        return None
    return number if math.isfinite(number) else None


def storable(number: int | None) -> int | None:
    """Return an integer, None if it exceeds SQLite's 64 bits, which no real record does."""
    return number if number is not None and abs(number) < 1 << 63 else None


def plain(text: str | None) -> str | None:
    """Return a text that SQLite can store: bytes that are not UTF-8 appear as `\\xff`."""
    if text is None or text.isascii():
        return text
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _add_outputs(store: Store, database: sqlite3.Connection, outputs: set[Oid]) -> None:
    """Insert outputs that the table lacks."""
    new = absent(database, "outputs", "output", outputs)
    database.executemany("insert into outputs values (?, ?, ?, ?, ?)", _output_rows(store, new))


def _output_rows(store: Store, outputs: Sequence[Oid]) -> Iterator[tuple[object, ...]]:
    for oid, content in zip(outputs, store.objects.read_many(outputs), strict=True):
        parts = _parts(content) if content is not None else None
        if parts is None:
            yield oid.hex(), None, None, None, None
            continue
        trees = [parts[name].hex() if name in parts else None for name in (CONTENT, ATTRIBUTES)]
        yield oid.hex(), *trees, int(FIXED not in parts), int(POSTPROCESS in parts)


def remove_runs(database: sqlite3.Connection, tags: Iterable[str]) -> None:
    """Delete runs, and the outputs that no other run has."""
    database.executemany("delete from runs where tag = ?", ((tag,) for tag in tags))
    database.execute(
        "delete from outputs where output not in (select output from runs where output is not null)"
    )
