"""Minimal recorded runs and directories for tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from prov.records.ids import OutputId, StaticKey, TaskHash
from prov.records.keys import TaskKey
from prov.records.output import Output
from prov.records.run import Run, author, empty_start
from prov.store.objects import MODE_DIRECTORY, MODE_FILE, Entry, Oid, object_id
from prov.store.odb import ObjectWriter
from prov.worktree.attributes import Pair

COMPILE = TaskKey("zlib:compile")
INSTALL = TaskKey("zlib:install")
APP = TaskKey("app:compile")
BY = author(1_700_000_000.9)


def oid(text: str) -> Oid:
    """Return an id that is unique for a text."""
    return object_id("blob", text.encode())


def task_hash(text: str) -> TaskHash:
    """Return a task hash without a stored tree."""
    return TaskHash(oid(f"hash of {text}"))


def output_id(text: str) -> OutputId:
    """Return an output id without a stored tree."""
    return OutputId(oid(f"output of {text}"))


def static_key(text: str) -> StaticKey:
    """Return a static key."""
    return StaticKey(oid(f"static key of {text}"))


def tree_of(writer: ObjectWriter, files: Mapping[str, str]) -> Oid:
    """Write a tree of files, without folders."""
    entries = [
        Entry(name.encode(), MODE_FILE, writer.add("blob", text.encode()))
        for name, text in files.items()
    ]
    return writer.add_tree(entries)


def pair_of(
    writer: ObjectWriter, files: Mapping[str, str], attributes: Mapping[str, str] | None = None
) -> Pair:
    """Write a recorded directory with its files and the blobs of its attributes."""
    if attributes is None:
        return Pair(tree_of(writer, files), None)
    return Pair(tree_of(writer, files), tree_of(writer, attributes))


def inputs_of(
    writer: ObjectWriter,
    texts: Mapping[str, str],
    edges: Mapping[str, Mapping[str, str]] | None = None,
) -> TaskHash:
    """Write an inputs tree: texts, and hex ids of edges by kind and name."""
    entries = [
        Entry(name.encode(), MODE_FILE, writer.add("blob", text.encode()))
        for name, text in texts.items()
    ]
    for kind, ids in (edges or {}).items():
        lines = {name: f"{digits}\n" for name, digits in ids.items()}
        entries.append(Entry(kind.encode(), MODE_DIRECTORY, tree_of(writer, lines)))
    return TaskHash(writer.add_tree(entries))


def sample_run(writer: ObjectWriter, key: TaskKey = COMPILE) -> Run:
    """Return a run with one file in its output."""
    made = pair_of(writer, {"zlib.o": "object"})
    return Run(
        key=key,
        task_hash=inputs_of(writer, {"script": "cc zlib.c\n"}),
        start=empty_start(writer),
        after=made,
        output=Output(made),
        log=b"compiled\n",
        environment={"CC": "cc", "LANG": "C"},
        facts={"seconds": "1.5", "host": "here"},
    )


def failed(run: Run) -> Run:
    """Return the run as if its task had failed."""
    return replace(run, output=None)
