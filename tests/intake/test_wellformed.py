"""The intake accepts everything that prov itself records of a directory, unchanged."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings

from prov.errors import StoreError
from prov.intake.source import Content, Source
from prov.intake.wellformed import Limits
from prov.records.ids import StaticKey, TaskHash
from prov.records.keys import TaskKey
from prov.records.output import Output, read_pair
from prov.records.run import Run, empty_start, write_run
from prov.remote.index import Index
from prov.remote.publication import Published
from prov.remote.receive import digests_of, receive
from prov.store.objects import MODE_FILE, Entry, Identity, Oid
from prov.store.repository import Store
from prov.worktree.attributes import Pair
from prov.worktree.checkout import checkout
from prov.worktree.snapshot import capture
from tests.remote.story import is_clean
from tests.trees import Step, carry_out, describe, steps

pytestmark = pytest.mark.process

BY = Identity("prov", "prov@localhost", 1_700_000_000)
FACTS = {"result": "ok", "text": "ü\ud800\n".encode("utf-8", "replace").decode()}


class Sender:
    """A store that serves as a remote."""

    name = "team"

    def __init__(self, store: Store, index: Index) -> None:
        self.store, self.index = store, index

    @contextmanager
    def objects(self, commits: Sequence[Oid], have: Sequence[Oid]) -> Iterator[Source]:
        def read(oid: Oid) -> Content | None:
            try:
                return Content(*self.store.objects.stream(oid))
            except StoreError:
                return None

        yield read


def _publish(store: Store, folder: Path) -> tuple[Published, Pair, Pair]:
    """Record a run on a directory that it does not change; return its publication and its trees."""
    with store.objects.writer() as writer:
        snapshot = capture(store, folder, writer)
        output = snapshot.output(b"", writer)
        assert output is not None
        task_hash = writer.add_tree([Entry(b"task", MODE_FILE, writer.add("blob", b"make\n"))])
        start, sysroots = empty_start(writer), {"target": output}
        run = Run(
            TaskKey("words:make"),
            TaskHash(task_hash),
            start,
            snapshot.pair,
            Output(output, b"true\n"),
            b"log",
            {},
            FACTS,
            sysroots,
        )
        recorded = write_run(writer, run, BY)
    tree = store.objects.commit(store.objects.commit(recorded.commit).parents[1]).tree
    digests = digests_of(store.objects)
    workdir = digests.commit(recorded.commit).id
    task = Published(
        TaskKey("words:make"),
        TaskHash(task_hash),
        StaticKey(bytes(20)),
        recorded.output,
        tree,
        digests.tree(tree).id,
        workdir=recorded.commit,
        workdir_digest=workdir,
    )
    return task, output, snapshot.pair


def _check_transfer(top: Path, sequence: list[Step], second: list[Step]) -> None:
    folder = top / "folder"
    carry_out(folder, sequence)
    one, other = Store.create(top / "one.git"), Store.create(top / "other.git")
    sender = Sender(one, Index(top / "index"))
    for changes in (second, []):  # the second time, the store has most of it already
        task, output, pair = _publish(one, folder)
        received = receive(
            sender,
            other,
            [task],
            holds=lambda task: False,
            workdirs=True,
            limits=Limits(devices=True),
        )
        assert (received.tasks, received.refused) == ([task], [])
        assert read_pair(other.objects, task.output) == output
        checkout(other.objects, top / "workdir", pair)
        assert describe(top / "workdir") == describe(folder)
        checkout(other.objects, top / "output", output)
        assert describe(top / "output", mtimes=False) == describe(folder, mtimes=False)
        for made in ("workdir", "output"):
            (top / made).rename(top / f"{made}-{len(changes)}-{len(list(top.iterdir()))}")
        carry_out(folder, changes)
    is_clean(other.path)


@settings(max_examples=30)
@given(steps(changes=False), steps(changes=True))
def test_recorded_directories_are_accepted(sequence: list[Step], second: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        _check_transfer(Path(folder), sequence, second)
