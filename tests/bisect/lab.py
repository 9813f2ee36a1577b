"""Record builds with one file in the target's output, without running anything."""

from __future__ import annotations

from prov.records.build_list import BuildList, Line, record_build
from prov.records.ids import TaskHash
from prov.records.keys import TaskKey
from prov.records.output import Output, write_output
from prov.records.run import author
from prov.store.objects import MODE_FILE, Entry
from prov.store.repository import Store
from prov.worktree.attributes import Pair

TARGET = TaskKey("app:image")
NAME = f"{TARGET}@output"


def record(store: Store, text: str | None, number: int = 0) -> BuildList:
    """Record a build with a text in its output. None: the target was not built."""
    lines = []
    if text is not None:
        with store.objects.writer() as writer:
            tree = writer.add_tree([Entry(b"file", MODE_FILE, writer.add_blob(text.encode()))])
            output = write_output(writer, Output(Pair(tree, None)))
            writer.finish()
        task_hash = TaskHash(text.encode().ljust(20, b"\0"))
        lines.append(Line(TARGET, task_hash, output, 0))
    facts = {"targets": TARGET, "result": "ok"}
    return BuildList(store, record_build(store, lines, {}, facts, author(number)))
