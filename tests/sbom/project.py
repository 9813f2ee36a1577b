"""A small project whose files are fetched, patched, made and collected in an image."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from prov.records.build_list import BuildList
from prov.records.keys import TaskKey
from prov.records.refs import RunRef
from prov.sbom.bill import Bill, BilledFile
from prov.sbom.collect import collect
from prov.sbom.origins import Origins
from prov.sbom.task_graph import GraphRun, TaskGraph
from prov.store.objects import Oid
from prov.store.refs import RefUpdate
from prov.worktree.attributes import walk
from tests.history.tiny import Tiny

PIN = "ab" * 32
LIB = f"""
version = '1.5'
summary = 'A library'
license = 'MIT & BSD-3-Clause'
supplier = 'Example'
cpe = ['cpe:2.3:a:example:lib:${{PV}}:*:*:*:*:*:*:*', 'cpe:2.3:a:example:old:1:*:*:*:*:*:*:*']
patches = ['fix.patch']
[[sources]]
file = 'lib.c'
[[sources]]
file = 'folder'
[[sources]]
url = 'https://user:secret@example.org/lib.tar.gz'
sha256 = '{PIN}'
[variables]
S = '${{WORKDIR}}'
[tasks.fetch]
inputs = ['sources']
outputdir = 'sources'
interpreter = 'sh'
script = ': "$SOURCES"'
[tasks.unpack]
from = ['fetch']
script = 'cp -R sources/. .'
[tasks.patch]
after = ['unpack']
inputs = ['patches']
script = 'cat patches/0001-fix.patch >> lib.c'
[tasks.make]
after = ['patch']
script = 'cat lib.c folder/a > made'
[tasks.stage]
after = ['make']
outputdir = 'image'
script = '''mkdir -p image/usr
cp made image/usr/lib
cp folder/a image/usr/a
: > image/usr/empty'''
"""
IMAGE = """
version = '3'
build = ['image']
[tasks.rootfs]
from = ['lib:stage']
outputdir = 'rootfs'
script = '''mkdir -p rootfs/usr
cp image/usr/lib image/usr/a image/usr/empty rootfs/usr
cp image/usr/lib rootfs/usr/again
ln -s lib rootfs/usr/link'''
hosttools = ['ln']
[tasks.image]
from = ['rootfs']
outputdir = 'deploy'
script = '''mkdir -p deploy
cat rootfs/usr/lib rootfs/usr/a > deploy/archive'''
"""
SOURCE = "/* SPDX-License-Identifier: GPL-2.0-only */\nint lib;\n"
TEXTS = {
    "lib.toml": LIB,
    "lib.c": SOURCE,
    "fix.patch": "a patch of some length\n",
    "folder/a": "a data file of some length\n",
    "image.toml": IMAGE,
}
IMAGE_TASK = TaskKey("image:image")


def build_project(root: Path, texts: Mapping[str, str] = TEXTS) -> Tiny:
    tiny = Tiny(root)
    tiny.build(texts, "image")
    return tiny


def graph_of(tiny: Tiny, build: BuildList | None = None) -> TaskGraph:
    return TaskGraph(tiny.store, build or tiny.latest())


def run_of(graph: TaskGraph, key: str) -> GraphRun:
    run = graph.target(TaskKey(key))
    assert run is not None
    return run


def forget_workdir(tiny: Tiny, run: GraphRun) -> None:
    """Keep only the record of a run, as garbage collection does."""
    assert run.commit is not None
    ref = RunRef(run.key, run.id.task_hash, 1)
    record = tiny.store.objects.commit(run.commit).parents[1]
    tiny.store.refs.update(
        RefUpdate(str(ref), None, run.commit), RefUpdate(str(ref.record), record, None)
    )


def contents_of(graph: TaskGraph, run: GraphRun) -> dict[bytes, Oid]:
    """Return the regular files in a run's output."""
    entries = walk(graph.store.objects, graph.output(run))
    return {path: node.oid for path, node in entries if stat.S_ISREG(node.mode)}


def origins_in(graph: TaskGraph, key: str) -> dict[str, tuple[str, str]]:
    """Return path in a task's output -> the task that made it, and its path there."""
    run = run_of(graph, key)
    origins = Origins(graph).of(run, contents_of(graph, run))
    return {
        os.fsdecode(path): (str(origin.task.key), os.fsdecode(origin.path))
        for path, origin in origins.items()
    }


def bill_of(tiny: Tiny, *keys: str) -> Bill:
    return collect(tiny.latest(), tuple(map(TaskKey, keys)) or (IMAGE_TASK,))


def file_at(bill: Bill, path: str) -> BilledFile:
    (file,) = [file for file in bill.files if file.path == path]
    return file
