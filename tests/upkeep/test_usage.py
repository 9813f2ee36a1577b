"""Disk usage counts each object once, for any grouping."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from prov.store.objects import CONSTANT_IDENTITY, MODE_FILE, Commit, Entry
from prov.store.refs import RefUpdate
from prov.store.repository import Store
from prov.store.sweep import packed_sizes, reachable
from prov.upkeep.usage import SHARED, UNHELD, By, owner_of, usage
from tests.fsck.generated_store import make_store

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_store(tmp_path_factory.mktemp("usage") / "store.git", runs=200, recipes=5)


@pytest.mark.parametrize("by", get_args(By))
def test_every_object_is_counted_once(store: Store, by: By) -> None:
    sizes = packed_sizes(store.objects)
    rows = usage(store, by)
    assert sum(row.size for row in rows) == sum(sizes.values())
    assert sum(row.objects for row in rows) == len(sizes)
    held = reachable(store.path)
    unheld = sum(row.objects for row in rows if row.name == UNHELD)
    if by != "build":  # objects of only a build's failed runs count as held by no ref
        assert unheld == sum(oid not in held for oid in sizes)


def test_objects_of_two_recipes_are_shared(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store.git")
    with store.objects.writer() as writer:
        common, mine = writer.add("blob", b"of both" * 100), writer.add("blob", b"of one" * 100)
        trees = [
            writer.add_tree([Entry(b"common", MODE_FILE, common)]),
            writer.add_tree([Entry(b"common", MODE_FILE, common), Entry(b"mine", MODE_FILE, mine)]),
        ]
        commits = [writer.add_commit(Commit(tree, (), CONSTANT_IDENTITY, "")) for tree in trees]
    for name, commit in zip(("one", "two"), commits, strict=True):
        store.refs.update(RefUpdate(f"refs/prov/output/{name}/t/{'1' * 40}", commit))
    rows = {row.name: row.objects for row in usage(store, "recipe")}
    assert rows[SHARED] == 1
    assert (rows["one"], rows["two"]) == (2, 3)


def test_parts_separate_the_records(store: Store) -> None:
    kinds = {row.name: row.size for row in usage(store, "kind")}
    parts = {row.name: row.size for row in usage(store, "part")}
    records = {name: size for name, size in parts.items() if name.startswith("records")}
    assert {"records: inputs", "records: log", "records: record"} < records.keys()
    assert sum(records.values()) == kinds["records"]
    assert parts.keys() - records.keys() == kinds.keys() - {"records"}


@pytest.mark.parametrize(
    ("ref", "recipe", "task"),
    [
        (f"refs/tags/app/make/{'1' * 40}/1", "app", "app:make"),
        (f"refs/tags/failed/app/make/{'1' * 40}/1", "app", "app:make"),
        (f"refs/prov/output/app/make/{'1' * 40}", "app", "app:make"),
        (f"refs/prov/record/app/make/{'1' * 40}/1", "app", "app:make"),
        ("refs/tags/outside/native/app/build/1", "app", "app:build"),
        ("refs/prov/workdir/native/app/build", "app", "app:build"),
        (f"refs/prov/workdir/plain/{'1' * 40}", "1" * 40, "1" * 40),
        (f"refs/prov/toolchain/{'1' * 40}", "host tools", "host tools"),
        ("refs/prov/label/release", "builds", "builds"),
        (f"refs/prov/pin/{'1' * 40}", "builds", "builds"),
        ("refs/heads/builds", "builds", "builds"),
        ("refs/heads/mine", "builds", "builds"),
        ("refs/tags/v1", "v1", "v1"),
    ],
)
def test_the_owner_of_a_ref(ref: str, recipe: str, task: str) -> None:
    assert (owner_of(ref, "recipe"), owner_of(ref, "task")) == (recipe, task)
