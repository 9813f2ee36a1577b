"""A task's own inputs, as entries of its inputs tree: variables, functions, sources, texts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from prov.records.entries import EDGES
from prov.store.objects import MODE_DIRECTORY, Entry
from prov.worktree.attributes import TreeReader, TreeWriter

NAMED = {
    b"variables": "variable",
    b"functions": "function",
    b"sources": "source",
    b"patches": "patch",
}
ALONE = {
    b"task": "definition",
    b"script": "script",
    b"postprocess": "postprocess",
    b"host-toolchain": "host tools",
    b"environment": "environment",
    b"capture": "capture settings",
    b"incremental": "leftovers",
    b"start": "starting directory",
    b"reads": "files read",
}
Named = tuple[str, str]
"""Kind and name of an own input; the name is empty if the kind has only one."""
OwnEntries = Mapping[Named, Entry]


def flatten(reader: TreeReader, entries: Iterable[Entry]) -> dict[Named, Entry]:
    """Return the own inputs in an inputs tree's entries, by kind and name."""
    own: dict[Named, Entry] = {}
    for entry in entries:
        if entry.name in NAMED:
            own |= {
                (NAMED[entry.name], os.fsdecode(below.name)): below
                for below in reader.tree(entry.oid)
            }
        elif os.fsdecode(entry.name) not in EDGES:
            own[ALONE.get(entry.name, os.fsdecode(entry.name)), ""] = entry
    return own


def unflatten(sink: TreeWriter, own: OwnEntries) -> tuple[Entry, ...]:
    """Return the entries of an inputs tree with these own inputs; write its folders to `sink`."""
    folders = {kind: name for name, kind in NAMED.items()}
    below: dict[bytes, list[Entry]] = {}
    entries = []
    for (kind, _), entry in sorted(own.items()):
        if kind in folders:
            below.setdefault(folders[kind], []).append(entry)
        else:
            entries.append(entry)
    return (
        *entries,
        *(Entry(name, MODE_DIRECTORY, sink.add_tree(inside)) for name, inside in below.items()),
    )
