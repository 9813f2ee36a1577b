"""A remote can hold any data. Forbidden data is rejected with an error that names it and leaves no
trace, accepted data does no harm on disk, and valid data is stored unchanged.
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import stat
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from prov.errors import CheckoutError, StoreError
from prov.intake.source import Source, read_whole
from prov.intake.wellformed import BadObject
from prov.records.keys import TaskKey
from prov.records.output import read_pair
from prov.remote.git_remote import object_source as reader
from prov.remote.index import Index
from prov.remote.receive import receive
from prov.remote.trust import Seal, judge
from prov.sharing.results import enter
from prov.store.git import make_bare
from prov.store.joining import consolidate
from prov.store.objects import Oid, object_id
from prov.store.repository import Store
from prov.tasks.definition import read_definition
from prov.transport.errors import Malformed, Untrusted
from prov.worktree.checkout import checkout
from tests.remote.hostile import KEY, Case
from tests.remote.hostile_cases import cases
from tests.remote.hostile_history import definition_text, publication_text
from tests.remote.story import is_clean

SAMPLE = int(os.environ.get("PROV_FUZZ_SAMPLE", "800"))
ALL = 10_000
SEED = int(os.environ.get("PROV_FUZZ_SEED", "1"))
SECONDS = 2.0
"""Maximum seconds for a case; nearly all take milliseconds."""
MEMORY = 512 << 20
"""Maximum seconds for all cases together."""


class Sender:
    """A remote that only has the objects of a case."""

    name = "team"

    def __init__(self, case: Case, index: Index) -> None:
        self.case, self.index = case, index

    @contextmanager
    def objects(self, commits: Sequence[Oid], have: Sequence[Oid]) -> Iterator[Source]:
        yield self.case.source or self.case.bag.source


class Lab:
    """A store, and a directory for checkouts of accepted data, with canaries around it."""

    def __init__(self, folder: Path) -> None:
        self.store = Store.create(folder / "store.git")
        self.index = Index(folder / "index")
        self.canary = folder / "canary"
        self.inner = self.canary / "deep" / "er"
        self.inner.mkdir(parents=True)
        for path in (self.canary / "x", self.canary / "deep" / "x", self.inner / "x"):
            path.write_text("alive\n")
        self.before = self.look()
        self.came = 0

    def look(self) -> dict[str, object]:
        """Return the state of all canaries."""
        return {
            str(path): (path.lstat().st_mode, path.lstat().st_mtime_ns if path.is_file() else 0)
            for path in [self.canary, *self.canary.rglob("*")]
        }

    def try_out(self, case: Case) -> None:
        packs, refs = self.packs(), self.refs()
        start = time.process_time()
        received = receive(
            Sender(case, self.index),
            self.store,
            [case.task],
            holds=lambda task: False,
            workdirs=bool(case.task.workdir),
        )
        took = time.process_time() - start
        assert took < SECONDS, f"{case.name}: {took:.1f} s"
        if not received.tasks:
            (error,) = received.refused
            assert isinstance(error, Untrusted) and type(error) is not Untrusted, case.name
            assert (error.remote, error.task) == ("team", case.task.key), case.name
            assert str(error).startswith(f"remote team: {KEY.partition(':')[0]}:"), str(error)
            assert str(error).isprintable() and len(str(error)) < 2000, f"{case.name}: {error}"
            assert case.refused is not False, f"{case.name}: {error}"
            assert self.packs() == packs, f"{case.name}: something of it is in the store"
        else:
            assert case.refused is not True, f"{case.name} came in"
            self.came += 1
            # as in a build: looking up an object opens every pack
            consolidate(self.store.objects)
            self.put_on_disk(case)
            enter(self.store, received.tasks)
        assert received.tasks or self.refs() == refs, case.name

    def put_on_disk(self, case: Case) -> None:
        target = self.inner / "target"
        try:
            checkout(self.store.objects, target, read_pair(self.store.objects, case.task.output))
        except CheckoutError as error:
            raise AssertionError(
                f"{case.name}: came in and can't be put on disk: {error}"
            ) from error
        inside = [path for path in target.rglob("*") if not path.is_symlink()]
        assert not [
            path
            for path in inside
            if stat.S_IFMT(path.lstat().st_mode) in (stat.S_IFBLK, stat.S_IFCHR)
        ]
        shutil.rmtree(target)
        assert self.look() == self.before, f"{case.name}: a file outside changed"

    def packs(self) -> list[str]:
        return sorted(os.listdir(self.store.objects.folder))

    def refs(self) -> set[str]:
        folder = self.store.path / "refs"
        return {str(path) for path in folder.rglob("*") if path.is_file()}

    def is_clean(self) -> None:
        is_clean(self.store.path)


def _run(folder: Path, count: int, seed: int) -> None:
    lab = Lab(folder)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for case in cases(count, seed):
        lab.try_out(case)
    assert lab.came > count // 50, "next to nothing came in, not even what is harmless"
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10 < MEMORY
    lab.is_clean()


def test_hostile_records_are_rejected(tmp_path: Path) -> None:
    _run(tmp_path, SAMPLE, SEED)


@pytest.mark.fuzz
def test_ten_thousand_hostile_records_are_rejected(tmp_path: Path) -> None:
    _run(tmp_path, ALL, SEED + 1)


def test_hostile_publications_are_rejected() -> None:
    for number in range(3000):
        text = publication_text(random.Random(f"{SEED} {number}"))
        with pytest.raises(Malformed) as caught:
            judge("team", "none", text, None)
            pytest.fail(f"{number}: {text[:300]!r}")
        assert str(caught.value).isprintable() and len(str(caught.value)) < 1000
        with pytest.raises(Malformed):
            judge("team", "keys", text, Seal("K", good=True, allowed=True))


def test_hostile_definitions_are_rejected() -> None:
    good = 0
    for number in range(3000):
        text = definition_text(random.Random(f"{SEED} {number}"))
        try:
            read = read_definition(text, TaskKey(KEY))
        except StoreError:
            continue
        good += 1
        names = [
            read.arch_name,
            read.chain,
            *(each.name for each in read.sources),
            *(name for name, _ in read.programs),
        ]
        for name in names:
            assert name not in ("", ".", "..") and "/" not in name and "\0" not in name, (
                f"{number}: {text!r}"
            )
            os.fsencode(name)
    assert good


def test_objects_that_git_can_not_read(tmp_path: Path) -> None:
    """In the scratch repository, unreadable objects count as missing."""
    make_bare(tmp_path)
    oid = object_id("blob", b"hello")
    path = tmp_path / "objects" / oid.hex()[:2] / oid.hex()[2:]
    path.parent.mkdir()
    for data in (
        b"",
        b"noise",
        *map(zlib.compress, (b"what 5\0hello", b"blob 6\0hello", b"tree 5\0hello", b"blob x")),
    ):
        path.write_bytes(data)
        try:
            found = read_whole(reader(tmp_path), oid, 100)
        except BadObject:
            continue
        assert found is None, data
