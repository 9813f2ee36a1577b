"""Make hostile stores: runs of BitBake tasks with arbitrary facts and files in their records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from prov.bitbake.capture import HASH_FACT, LINE_FACT, STAMP_FACT, WORKDIR_FACT
from prov.records.ids import CommitId, TaskHash
from prov.records.keys import TaskKey
from prov.records.run import Run, Start, author, empty_start, write_run
from prov.store.objects import MODE_EXECUTABLE, MODE_FILE, Entry, Oid
from prov.store.odb import ObjectWriter
from prov.store.refs import RefUpdate
from prov.store.repository import Store
from prov.worktree.attributes import EMPTY, FileNode, Listing, Pair, write_listing

EVIL = b"ssh-ed25519 AAAA eve\n"


def listing_of(writer: ObjectWriter, files: Mapping[str, bytes | str]) -> Listing:
    """Return the listing of a directory with these files.

    `files` maps paths to content in bytes, or to the target of a symlink as text. Files that begin
    with `#!` are executable.
    """
    listing: Listing = {}
    folders: dict[str, dict[str, bytes | str]] = {}
    for path, content in files.items():
        name, slash, rest = path.partition("/")
        if slash:
            folders.setdefault(name, {})[rest] = content
        elif isinstance(content, str):
            listing[name.encode()] = FileNode(0o120777, writer.add("blob", content.encode()))
        else:
            mode = MODE_EXECUTABLE if content.startswith(b"#!") else MODE_FILE
            listing[name.encode()] = FileNode(mode, writer.add("blob", content))
    for name, below in folders.items():
        pair = write_listing(writer, listing_of(writer, below), mtimes=True)
        listing[name.encode()] = FileNode(0o040755, pair=pair)
    return listing


def facts_of(workdir: str, stamp: str, **more: str) -> dict[str, str]:
    """Return the facts of a task's record, with its WORKDIR and stamp."""
    facts = {
        "result": "ok",
        "began": "1.0",
        "seconds": "1.0",
        WORKDIR_FACT: workdir,
        STAMP_FACT: stamp,
        LINE_FACT: "refs/prov/workdir/x86_64/a/1.0-00000000",
        HASH_FACT: "0" * 64,
    }
    return facts | more


def add_run(
    store: Store,
    facts: Mapping[str, str],
    files: Mapping[str, bytes | str] | None = None,
    *,
    task: str = "do_compile",
    script: str = "",
    after: Oid | None = None,
    name: str = "",
) -> Oid:
    """Record a run of the recipe `a` in a WORKDIR with these files, and return its commit."""
    with store.objects.writer() as writer:
        inputs = writer.add_tree(
            [Entry(b"task", MODE_FILE, writer.add("blob", f"{task} {facts}".encode()))]
        )
        pair = write_listing(
            writer, listing_of(writer, files or {"authorized_keys": EVIL}), mtimes=True
        )
        start = Start(CommitId(after), EMPTY) if after is not None else empty_start(writer)
        key = f"a:{name or task}"
        extra: dict[str, Pair | Oid | str] = {"script": script} if script else {}
        run = Run(
            TaskKey(key),
            TaskHash(inputs),
            start,
            pair,
            None,
            b"the log\n",
            {},
            dict(facts),
            {},
            extra=extra,
        )
        made = write_run(writer, run, author(2.0))
        writer.finish()
    store.refs.update(RefUpdate(f"refs/tags/a/{task}/{inputs.hex()}/1", made.commit))
    return made.commit


def files_below(folder: Path) -> Sequence[str]:
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if not path.is_dir() or path.is_symlink()
    )
