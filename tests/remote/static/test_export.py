"""Write a static cache."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from prov.records.ids import OutputId, StaticKey, TaskHash
from prov.records.keys import TaskKey
from prov.remote.publication import Published, decode_publication
from prov.remote.static.export import export, exported, read_manifest
from prov.remote.static.manifest import MANIFEST, Manifest
from prov.store.objects import MODE_FILE, Entry
from prov.store.repository import Store
from prov.transport.errors import RemoteError
from prov.transport.pack_ranges import PackIndex


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def result(store: Store, name: str, *files: str) -> Published:
    """Add a record with files to the store; return its publication."""
    with store.objects.writer() as writer:
        entries = [
            Entry(text.encode(), MODE_FILE, writer.add("blob", text.encode())) for text in files
        ]
        record = writer.add_tree(entries)
        writer.finish()
    store.objects.refresh()
    oid = name.encode() * 20
    return Published(
        TaskKey("words:make"), TaskHash(oid), StaticKey(oid), OutputId(oid), record, bytes(32)
    )


def test_exported_results_are_listed(store: Store, cache: Path) -> None:
    one, two = result(store, "1", "a"), result(store, "2", "a", "b")
    assert exported(cache) == set()
    assert export(store.objects, cache, [one, two], key="") > 0
    assert exported(cache) == {(task.task_hash, task.output) for task in (one, two)}
    manifest = read_manifest(cache)
    assert manifest.publications == {1: False}
    (bundle,) = manifest.bundles
    assert (cache / f"{bundle.name}.bundle").stat().st_size == bundle.size
    publication = decode_publication((cache / "publications/00000001").read_bytes())
    assert publication.tasks == (one, two)


def test_existing_results_are_not_written_again(store: Store, cache: Path) -> None:
    one, two = result(store, "1", "a", "b"), result(store, "2", "b", "c")
    export(store.objects, cache, [one], key="")
    files = {path: path.read_bytes() for path in cache.rglob("*") if path.is_file()}
    assert export(store.objects, cache, [one], key="") == 0
    export(store.objects, cache, [one, two], key="")
    assert all(path.read_bytes() == data for path, data in files.items() if path.name != MANIFEST)
    first, second = (PackIndex(cache / f"bundles/0000000{number}.idx") for number in (1, 2))
    entries = {entry.name: entry.oid for entry in store.objects.tree(two.record)}
    assert entries[b"b"] in first and entries[b"b"] not in second
    assert entries[b"c"] in second and two.record in second


def test_git_reads_the_bundles(store: Store, cache: Path, tmp_path: Path) -> None:
    for name in ("1", "2", "3"):
        export(store.objects, cache, [result(store, name, name)], key="")
    git = ["git", f"--git-dir={tmp_path / 'read.git'}"]
    subprocess.run([*git, "init", "-q", "--bare"], check=True)
    for bundle in sorted((cache / "bundles").glob("*.bundle")):
        subprocess.run([*git, "bundle", "verify", "--quiet", bundle], check=True)
        subprocess.run([*git, "fetch", "-q", bundle, "+refs/*:refs/*"], check=True)
    subprocess.run([*git, "fsck", "--strict"], check=True)


def test_a_folder_with_other_files_is_rejected(store: Store, cache: Path) -> None:
    cache.mkdir()
    (cache / "else").touch()
    with pytest.raises(RemoteError, match="is not a static cache"):
        export(store.objects, cache, [result(store, "1")], key="")
    (cache / MANIFEST).write_bytes(b"noise\n")
    with pytest.raises(RemoteError, match="invalid manifest"):
        read_manifest(cache)


def test_files_of_a_killed_export_are_deleted(store: Store, cache: Path) -> None:
    (cache / ".bundle-x").mkdir(parents=True)
    (cache / ".bundle-x/pack").touch()
    export(store.objects, cache, [result(store, "1")], key="")
    assert [path.name for path in cache.glob(".bundle-*")] == []
    assert read_manifest(cache) != Manifest({}, ())
