"""A small project with real builds, and lists of reads added to its records."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from prov.dependencies.advice import Advice, Advisor
from prov.dependencies.proof import Removed, Trial, prove
from prov.history.names import find_run
from prov.reads.reads import COMPLETE, Read, Reads
from prov.recipes.project import Project
from prov.records.entries import READS
from prov.records.record import read_record, record_of
from prov.records.run import author
from prov.replay.scratch import open_scratch
from prov.store.objects import MODE_FILE, Commit, Entry
from prov.store.refs import RefUpdate
from prov.store.repository import Store
from prov.sysroot.compose import sysroots_of
from prov.tasks.sandbox import bubblewrap
from tests.history.tiny import Tiny

SYSROOT = "/build/sysroot/"
DATE = author(1_700_000_000)


def library(name: str, more: str = "") -> str:
    """Return a recipe that stages one header."""
    return (
        f"version = '1'\nbuild = ['stage']\n{more}\n[tasks.stage]\noutputdir = 'image'\n"
        f"script = 'mkdir -p image/usr/include && echo {name} > image/usr/include/{name}.h'\n"
    )


def program(script: str, depends: str, more: str = "") -> str:
    """Return a recipe with two tasks, of which the first has dependencies."""
    return (
        f"version = '1'\nbuild = ['collect']\ndepends = [{depends}]\n{more}\n"
        f"[tasks.link]\nneeds = ['@depends:stage']\nscript = '''{script}'''\n"
        "[tasks.collect]\nafter = ['link']\noutputdir = 'image'\n"
        "script = 'cp result image'\n"
    )


def add_entries(store: Store, key: str, texts: Mapping[bytes, bytes]) -> None:
    """Add texts to the record of a task's newest run, in place of those with the same names."""
    objects, run = store.objects, find_run(store, key)
    old = objects.commit(run.commit)
    record = read_record(objects, record_of(objects, run.commit)).tree
    entries = [own for own in objects.tree(record) if own.name not in texts]
    with objects.writer() as writer:
        for name, text in texts.items():
            entries.append(Entry(name, MODE_FILE, writer.add("blob", text)))
        new = writer.add_commit(Commit(writer.add_tree(entries), (), DATE, "record\n"))
        parents = (old.parents[0], new)
        commit = writer.add_commit(Commit(old.tree, parents, old.author, old.message))
        writer.finish()
    store.refs.update(RefUpdate(str(run.ref), commit))


def add_reads(store: Store, key: str, reads: Reads) -> None:
    """Add a list of reads to the record of a task's newest run, as if the task were watched."""
    add_entries(store, key, {READS: reads.encode()})


def traced(*paths: str, missing: tuple[str, ...] = (), opens: str = COMPLETE) -> Reads:
    """Return a list of opened and missing paths of the target's sysroot."""
    rows = [Read(SYSROOT + path, "o") for path in paths]
    rows += [Read(SYSROOT + path, "m") for path in missing]
    return Reads.of(rows, opens, opens)


def advise(project: Tiny, recipe: str) -> Advice:
    return Advisor(project.store, Project.load(project.root)).advice(recipe)


def tried(
    project: Tiny, recipe: str, *candidates: str, removed: Removed = frozenset
) -> dict[str, Trial]:
    """Return the results of a recipe's tasks without candidates."""
    store = project.store
    sandbox = bubblewrap("auto")
    sysroots = partial(sysroots_of, store)
    with open_scratch(store, sysroots, sandbox, search_path="/usr/bin:/bin") as scratch:
        return prove(store, scratch, recipe, candidates, removed)


def tiny(path: Path) -> Tiny:
    return Tiny(path, sandbox="auto")
