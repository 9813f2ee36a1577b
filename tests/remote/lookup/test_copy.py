"""Machines that meet a large remote read only the publications that they need."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from prov.records.ids import OutputId, StaticKey, TaskHash
from prov.records.keys import TaskKey
from prov.records.refs import REMOTE_INDEX
from prov.remote.git_remote import SMALL, GitRemote
from prov.remote.incoming import make_commit
from prov.remote.index_branch import PublishedId
from prov.remote.lookup.branch import LOOKUP, LookupWriter
from prov.remote.lookup.table import decode_segment, make_lookup
from prov.remote.publication import Publication, Published
from prov.remote.settings import find_remote
from prov.store.git import run_git
from prov.store.objects import EMPTY_TREE, MODE_DIRECTORY, MODE_FILE, Entry
from prov.store.odb import ObjectDatabase
from prov.store.repository import Store
from prov.transport.access import Access
from tests.remote.conftest import Machines, kinds, make_cache
from tests.remote.keys import Keys, sign_with
from tests.remote.story import Cache, Machine

pytestmark = pytest.mark.process

MANY = SMALL // 2
"""Results in each of the first publications: the second one makes the index large."""


def published(number: int) -> Published:
    chance = random.Random(number)
    return Published(
        TaskKey(f"recipe{number % 50}:task{number % 10}"),
        TaskHash(chance.randbytes(20)),
        StaticKey(chance.randbytes(20)),
        OutputId(chance.randbytes(20)),
        chance.randbytes(20),
        digest=chance.randbytes(32),
    )


def append(cache: Cache, text: bytes, number: int, signature: bytes = b"") -> None:
    """Publish a text as an older prov does, without a lookup table."""
    rows = cache.git("for-each-ref", "--format=%(objectname)", REMOTE_INDEX).split()
    folders = {"publications": text} | ({"signatures": signature} if signature else {})
    with ObjectDatabase(cache.path).writer() as writer:
        top = [
            Entry(
                name.encode(),
                MODE_DIRECTORY,
                writer.add_tree([Entry(b"%08d" % number, MODE_FILE, writer.add_blob(data))]),
            )
            for name, data in folders.items()
        ]
        tree = writer.add_tree(top)
    commit = make_commit(cache.path, [bytes.fromhex(row) for row in rows], "tasks", tree)
    run_git(cache.path, ["update-ref", REMOTE_INDEX, commit.hex()])


def enlarge(cache: Cache, key: Path | None = None) -> None:
    """Publish many results of others."""
    for number in (1, 2):
        tasks = tuple(published(number * MANY + each) for each in range(MANY))
        text = Publication(number, tasks).encode()
        append(cache, text, number, sign_with(text, key) if key else b"")


def make_large(request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> Cache:
    cache = make_cache(request, tmp_path, kind)
    if kind == "folder":
        run_git(tmp_path, ["init", "--quiet", "--bare", str(cache.path)])
    enlarge(cache)
    return cache


@pytest.fixture
def large(request: pytest.FixtureRequest, tmp_path: Path) -> Cache:
    return make_large(request, tmp_path, "daemon")


def opened(machine: Machine) -> GitRemote:
    store = Store(machine.root / ".prov")
    return GitRemote(
        find_remote(store, "team"), store, Access({**os.environ, **machine.environment})
    )


def read(machine: Machine) -> set[int]:
    """Return the numbers of the publications that a machine has read."""
    return opened(machine).index.numbers()


def has_table(cache: Cache, commit: str = REMOTE_INDEX) -> bool:
    return LOOKUP in cache.git("ls-tree", "--name-only", commit).split()


@pytest.mark.parametrize("kind", kinds("folder", "daemon", "ssh", "ssh-v0", "http", "http-v0"))
def test_a_new_machine_reads_what_it_needs(
    kind: str, request: pytest.FixtureRequest, machines: Machines, tmp_path: Path
) -> None:
    cache = make_large(request, tmp_path, kind)
    one = machines("one", cache, built=True)
    one.prov("push")
    assert has_table(cache)
    two = machines("two", cache)
    before = cache.moved()
    built = two.build()
    assert built == "1 fetched", two.said[:1500]
    assert two.deployed() == two.wanted()
    is_old = kind == "http-v0"  # such a server does not serve publications by id
    assert read(two) == ({1, 2, 3} if is_old else {3})
    if not is_old and cache.line:
        assert cache.moved() - before < 600_000  # the publications have 1.2 MB
    # later publications are read as they come
    one.change("second")
    one.build("--offline")
    one.prov("push")
    two.change("second")
    assert two.build() == "1 fetched"
    assert read(two) == ({1, 2, 3, 4} if is_old else {3, 4})
    if not is_old:
        assert opened(two).branch.shallow() == cache.git("rev-parse", REMOTE_INDEX).split()
    two.change("third")
    two.build()
    two.prov("push")
    assert read(two) == {1, 2, 3, 4, 5}
    cache.is_clean()
    two.is_clean()
    assert machines("three", cache).build() == "1 fetched"


def test_requests_of_a_first_contact(large: Cache, machines: Machines) -> None:
    machines("one", large, built=True).prov("push")
    two = machines("two", large)
    before = len(large.requests())
    two.prov("plan", "app")
    assert len(large.requests(at_least=before + 2)) - before == 2  # the table, one publication
    two.prov("plan", "app")
    assert len(large.requests()) - before == 2


def test_a_table_in_small_caches_is_not_written(folder_cache: Cache, machines: Machines) -> None:
    machines("one", folder_cache, built=True).prov("push")
    assert not has_table(folder_cache)


def test_publications_of_an_older_prov_are_added_to_the_table(
    large: Cache, machines: Machines
) -> None:
    machines("one", large, built=True).prov("push")
    append(large, Publication(4, (published(1),)).encode(), 4)
    assert not has_table(large)
    two = machines("two", large)
    assert two.build() == "1 fetched"  # without a table, it reads everything
    assert read(two) == {1, 2, 3, 4}
    two.change("second")
    two.build()
    two.prov("push")
    names = large.git("ls-tree", "--name-only", f"{REMOTE_INDEX}:{LOOKUP}").split()
    assert names == ["00000001", "00000004"]
    remote = opened(machines("three", large))
    remote.refresh(whole=False)
    assert remote.index.numbers() == set()
    assert remote.look_up([published(1).task_hash]) == []
    assert remote.index.numbers() == {4}
    assert remote.index.find(published(1).task_hash) == [published(1)]


def test_each_look_up_doubles_what_is_read(folder_cache: Cache, machines: Machines) -> None:
    run_git(folder_cache.path.parent, ["init", "--quiet", "--bare", str(folder_cache.path)])
    enlarge(folder_cache)
    for number in range(3, 23):
        append(folder_cache, Publication(number, (published(number),)).encode(), number)
    machines("one", folder_cache, built=True).prov("push")
    remote = opened(machines("two", folder_cache))
    remote.refresh(whole=False)
    sizes = []
    for number in range(3, 11):
        remote.look_up([published(number).task_hash])
        assert remote.index.find(published(number).task_hash)
        sizes.append(len(remote.index.numbers()))
    assert sizes == [1, 3, 7, 15, 23, 23, 23, 23]
    assert {1, 2} <= remote.index.numbers()


def test_a_damaged_copy_of_a_part(large: Cache, machines: Machines) -> None:
    """The list of commits without parents is lost: the copy is fetched again."""
    machines("one", large, built=True).prov("push")
    two = machines("two", large)
    two.prov("plan", "app")
    remote = opened(two)
    (remote.git / "shallow").write_text("")
    assert two.build() == "1 fetched"
    remote.refresh(whole=False)
    assert read(two) == {1, 2, 3}


def test_whole_after_a_part(large: Cache, machines: Machines) -> None:
    machines("one", large, built=True).prov("push")
    two = machines("two", large)
    two.build()
    assert read(two) == {3}
    assert two.ask("remote", "list", "--refresh").endswith(f"  {2 * MANY + 5} results\n")
    assert read(two) == {1, 2, 3}


def test_a_cache_of_an_older_prov_stays_whole(large: Cache, machines: Machines) -> None:
    machines("one", large, built=True).prov("push")
    two = machines("two", large)
    remote = opened(two)
    remote.refresh()
    assert remote.index.get("part") == ""
    assert two.build() == "1 fetched"
    assert read(two) == {1, 2, 3}


@pytest.mark.parametrize("kind", ["folder", "daemon"])
def test_a_collected_remote(
    kind: str, request: pytest.FixtureRequest, machines: Machines, tmp_path: Path
) -> None:
    """The index stays large: of each task, the last result stays."""
    cache = make_cache(request, tmp_path, kind)
    if kind == "folder":
        run_git(tmp_path, ["init", "--quiet", "--bare", str(cache.path)])
    tasks = tuple(
        replace(published(each), key=TaskKey(f"recipe{each}:task"), record=EMPTY_TREE)
        for each in range(SMALL)
    )
    append(cache, Publication(1, tasks).encode(), 1)
    one = machines("one", cache, built=True)
    one.prov("push")
    for text in ("second", "third"):
        one.change(text)
        one.build("--offline")
        one.prov("push")
    two = machines("two", cache)
    two.change("third")
    two.prov("plan", "app")
    assert read(two) == {4}
    said = one.ask("remote", "gc", "team", "--days", "0", "--builds", "0")
    assert said.startswith("10 results deleted")
    assert cache.git("rev-list", "--count", REMOTE_INDEX).strip() == "2"
    assert has_table(cache)
    assert not has_table(cache, f"{REMOTE_INDEX}^")
    # the results of the first state were deleted
    three = machines("three", cache)
    assert three.build().startswith("5 ran")
    four = machines("four", cache)
    four.change("third")
    assert four.build() == "1 fetched"
    assert 1 not in read(four)
    # a machine that knew the old branch reads the new one
    assert two.build() == "1 fetched"


Change = Callable[[ObjectDatabase, list[Entry]], list[Entry]]


def garbage(objects: ObjectDatabase, _entries: list[Entry]) -> list[Entry]:
    with objects.writer() as writer:
        return [Entry(b"00000001", MODE_FILE, writer.add_blob(b"garbage"))]


def twice(_objects: ObjectDatabase, entries: list[Entry]) -> list[Entry]:
    return [*entries, Entry(b"00000099", MODE_FILE, entries[-1].oid)]


def missing(objects: ObjectDatabase, entries: list[Entry]) -> list[Entry]:
    """Name publications that the remote does not have."""
    data = objects.blob(entries[-1].oid)
    text, blank, binary = data.partition(b"\n\n")
    lines = [
        b" ".join([line.split(b" ")[0], b"1" * 40, *line.split(b" ")[2:]])
        for line in text.split(b"\n")[1:]
    ]
    with objects.writer() as writer:
        false = writer.add_blob(b"\n".join([b"prov lookup 1", *lines]) + blank + binary)
    return [*entries[:-1], Entry(entries[-1].name, MODE_FILE, false)]


def a_tree(objects: ObjectDatabase, entries: list[Entry]) -> list[Entry]:
    with objects.writer() as writer:
        return [*entries[:-1], Entry(entries[-1].name, MODE_DIRECTORY, writer.add_tree([]))]


@pytest.mark.parametrize("change", [garbage, twice, missing, a_tree])
def test_with_a_false_table_everything_is_read(
    change: Change, large: Cache, machines: Machines
) -> None:
    machines("one", large, built=True).prov("push")
    replace_table(large, change)
    two = machines("two", large)
    assert two.build() == "1 fetched"
    assert two.deployed() == two.wanted()
    assert read(two) == {1, 2, 3}
    # the next publication has a table that can be used
    two.change("second")
    two.build()
    two.prov("push")
    three = machines("three", large)
    three.change("second")
    assert three.build() == "1 fetched"


def replace_table(cache: Cache, change: Change) -> None:
    """Replace the last commit of the index by one with another table."""
    objects = ObjectDatabase(cache.path)
    (row,) = cache.git("for-each-ref", "--format=%(objectname)", REMOTE_INDEX).split()
    commit = objects.commit(bytes.fromhex(row))
    top = {entry.name: entry for entry in objects.tree(commit.tree)}
    entries = change(objects, objects.tree(top[LOOKUP.encode()].oid))
    with objects.writer() as writer:
        top[LOOKUP.encode()] = Entry(LOOKUP.encode(), MODE_DIRECTORY, writer.add_tree(entries))
        tree = writer.add_tree(list(top.values()))
    new = make_commit(cache.path, list(commit.parents), "tasks", tree)
    run_git(cache.path, ["update-ref", REMOTE_INDEX, new.hex()])


def test_a_table_cannot_make_a_publication_trusted(
    request: pytest.FixtureRequest, machines: Machines, tmp_path: Path
) -> None:
    """The table of a signed remote names a publication by a key that is not allowed."""
    keys = Keys(tmp_path / "keys")
    cache = make_cache(request, tmp_path, "daemon")
    enlarge(cache, keys.allowed)
    policy = ("--trust", "keys", "--signers", str(keys.signers))
    machines("bad", cache, *policy, "--key", str(keys.other), built=True).prov("push")
    assert has_table(cache)
    two = machines("two", cache, *policy)
    assert two.build() == "5 ran"
    assert read(two) == {3}
    assert "signed with a key that is not in the signers file" in two.said
    assert opened(two).index.count() == 0
    # with the key allowed, the same machine uses it
    keys.signers.write_text(
        keys.signers.read_text() + f"o@example.org {keys.other.with_suffix('.pub').read_text()}"
    )
    three = machines("three", cache, *policy)
    assert three.build() == "1 fetched"
    assert read(three) == {3}
    # and without it again, no longer
    keys.signers.write_text(keys.signers.read_text().splitlines()[0] + "\n")
    four = machines("four", cache, *policy)
    assert four.build() == "5 ran"


def test_a_signed_publication_is_taken_from_a_large_remote(
    request: pytest.FixtureRequest, machines: Machines, tmp_path: Path
) -> None:
    keys = Keys(tmp_path / "keys")
    cache = make_cache(request, tmp_path, "daemon")
    enlarge(cache, keys.allowed)
    policy = ("--trust", "keys", "--signers", str(keys.signers))
    machines("one", cache, *policy, "--key", str(keys.allowed), built=True).prov("push")
    two = machines("two", cache, *policy)
    assert two.build() == "1 fetched"
    assert read(two) == {3}
    (listed,) = opened(two).index.publications()
    assert listed.signer.startswith("SHA256:")


def test_a_table_of_many_publications(tmp_path: Path) -> None:
    """Pushes of one result each: the table has few segments, and all results are in it."""
    objects = ObjectDatabase(Store.create(tmp_path / "store").path)
    entries: list[Entry] = []
    for number in range(1, 101):
        task = published(number)
        with objects.writer() as writer:
            table = LookupWriter(objects, writer, entries)
            table.add(number, PublishedId(b"t" * 20, None), [task.task_hash])
            folder = table.finish()
        entries = objects.tree(folder)
        assert len(entries) <= 16 * 2
    lookup = make_lookup([decode_segment(objects.blob(entry.oid)) for entry in entries])
    assert [row.number for row in lookup.rows()] == list(range(1, 101))
    for number in range(1, 101):
        assert [row.number for row in lookup.find(published(number).task_hash)] == [number]
