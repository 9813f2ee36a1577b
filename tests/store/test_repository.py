from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from prov.errors import StoreError
from prov.store.joining import consolidate
from prov.store.refs import RefUpdate
from prov.store.repository import Store


def test_git_accepts_a_new_store(store: Store, is_clean: Callable[[], None]) -> None:
    is_clean()
    assert Store.open(store.path).path == store.path


def test_creating_it_again_changes_nothing(store: Store) -> None:
    with store.objects.writer() as writer:
        oid = writer.add("blob", b"x")
    before = (store.path / "config").read_bytes()
    assert Store.create(store.path).objects.blob(oid) == b"x"
    assert (store.path / "config").read_bytes() == before


def test_an_interrupted_creation_is_finished(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", "--bare", str(tmp_path / "s")], check=True)
    shutil.rmtree(tmp_path / "s" / "objects" / "pack")
    Store.create(tmp_path / "s")
    subprocess.run(
        ["git", "-C", str(tmp_path / "s"), "fsck", "--strict"], check=True, capture_output=True
    )
    assert Store.open(tmp_path / "s").objects.packed(
        bytes.fromhex("4b825dc642cb6eb9a060e54bf8d69288fbee4904")
    )


@pytest.mark.parametrize("head", [None, b"", b"ref: refs/h", bytes(21)])
@pytest.mark.parametrize("config", [None, b"", b"[co", bytes(30)])
def test_an_interrupted_creation_is_continued(
    tmp_path: Path, head: bytes | None, config: bytes | None
) -> None:
    folder = tmp_path / "s"
    (folder / "objects").mkdir(parents=True)
    for name, content in (("HEAD", head), ("config", config)):
        if content is not None:
            (folder / name).write_bytes(content)
    store = Store.create(folder)
    with store.objects.writer() as writer:
        oid = writer.add("blob", b"x")
    store.refs.update(RefUpdate("refs/prov/x", oid))
    subprocess.run(["git", "-C", str(folder), "fsck", "--strict"], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (None, "no store at"),
        ("[core]\n\tbare = true\n", "not a prov store"),
        ("[prov]\n\tformat = 99\n", "format"),
    ],
)
def test_a_path_without_a_store_is_named(tmp_path: Path, config: str | None, words: str) -> None:
    if config is not None:
        (tmp_path / "config").write_text(config)
    with pytest.raises(StoreError, match=words):
        Store.open(tmp_path)


def test_a_store_can_do_without_its_cache(store: Store) -> None:
    with store.objects.writer() as writer:
        oid = writer.add("blob", b"x")
    shutil.rmtree(store.cache)
    again = Store.open(store.path)
    assert again.objects.blob(oid) == b"x"
    for number in range(30):
        with again.objects.writer() as writer:
            writer.add("blob", b"%d" % number)
    assert consolidate(again.objects) > 0


def test_a_store_cannot_replace_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("mine\n")
    with pytest.raises(StoreError, match="file is not a directory"):
        Store.create(path)
    assert path.read_text() == "mine\n"
