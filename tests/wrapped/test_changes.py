"""Tests of changes between states of a directory."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from prov.errors import StoreError
from prov.records.output import read_pair, write_output
from prov.store.repository import Store
from prov.worktree.attributes import EMPTY, Pair
from prov.worktree.checkout import checkout
from prov.worktree.snapshot import capture
from prov.wrapped.changes import (
    changed,
    changes_between,
    decode_changes,
    encode_changes,
    output_of_changes,
)
from tests.wrapped.random_scripts import contents, edit

pytestmark = pytest.mark.process


def state_of(store: Store, folder: Path) -> Pair:
    with store.objects.writer() as writer:
        return capture(store, folder, writer).pair


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("is_shared", [True, False])
def test_changes_lead_from_one_state_to_the_other(
    store: Store, tmp_path: Path, seed: int, is_shared: bool
) -> None:
    rng, folder, other = random.Random(seed), tmp_path / "src", tmp_path / "other"
    folder.mkdir()
    for _ in range(10):
        edit(rng, folder)
    subprocess.run(["cp", "-a", folder, other], check=True)
    before = state_of(store, folder)
    for _ in range(rng.randint(0, 10)):
        edit(rng, folder)
    after = state_of(store, folder)
    with store.objects.writer() as writer:
        changes = changes_between(store.objects, before, after)
        pair = after
        if is_shared:
            output = write_output(writer, output_of_changes(writer, changes))
            pair = read_pair(writer, output)
        changes = decode_changes(writer, encode_changes(changes).encode(), pair)
        target = changed(writer, before, changes, 10**18)
    checkout(store.objects, other, target, now=before)
    assert contents(other) == contents(folder)


def test_only_changed_paths_are_touched(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "src"
    (folder / "d/e").mkdir(parents=True)
    (folder / "d/a").write_text("1")
    before = state_of(store, folder)
    (folder / "d/b").write_text("2")
    (folder / "d/e").chmod(0o700)
    after = state_of(store, folder)
    changes = changes_between(store.objects, before, after, [b"d/a", b"d/none"])
    assert sorted(changes) == [b"d/a", b"d/b", b"d/e/."]
    (folder / "d/c").write_text("3")
    (folder / "d/a").write_text("4")
    shutil.rmtree(folder / "d/e")
    (folder / "d/e").mkdir()
    now = state_of(store, folder)
    with store.objects.writer() as writer:
        target = changed(writer, now, changes, 10**18)
    checkout(store.objects, folder, target, now=now)
    texts = {name: (folder / "d" / name).read_text() for name in "abc"}
    assert texts == {"a": "1", "b": "2", "c": "3"}
    assert (folder / "d/b").stat().st_mtime_ns == 10**18
    assert (folder / "d/e").stat().st_mode & 0o777 == 0o700


def test_odd_names(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "src"
    folder.mkdir()
    for name in (b"new\nline", b"\xff", b"- x", b".x", b"back\\slash"):
        Path(os.fsdecode(bytes(folder) + b"/" + name)).touch()
    after = state_of(store, folder)
    changes = changes_between(store.objects, EMPTY, after)
    assert decode_changes(store.objects, encode_changes(changes).encode(), after) == changes


@pytest.mark.parametrize("text", [b"+ none\n", b"* a\n", b"+ \\x\n", b"\xff", b"+ none/a\n"])
def test_invalid_lists(store: Store, text: bytes) -> None:
    with pytest.raises(StoreError, match="invalid list of changes"):
        decode_changes(store.objects, text, EMPTY)
