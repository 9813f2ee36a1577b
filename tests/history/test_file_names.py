"""Files found by name in what was recorded."""

from __future__ import annotations

from pathlib import Path

import pytest

from prov.history.file_names import find_below
from prov.store.repository import Store
from prov.worktree.attributes import Pair
from prov.worktree.snapshot import capture

NATIVE = (
    "sysroot-destdir/home/anna/build/tmp/work/x86_64-linux/zlib-native/1.3.1/recipe-sysroot-native"
)


def captured(store: Store, top: Path, *paths: str) -> Pair:
    for path in paths:
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text(path)
    with store.objects.writer() as writer:
        return capture(store, top, writer).pair


@pytest.mark.parametrize(
    ("paths", "where"),
    [
        (["usr/bin/x"], "usr/bin/x"),
        (["package/usr/bin/x", "packages-split/x/usr/bin/x"], "package/usr/bin/x"),
        ([f"{NATIVE}/usr/bin/x", f"{NATIVE}/usr/lib/y"], f"{NATIVE}/usr/bin/x"),
        (["sysroot-destdir/usr/src/build/recipe-sysroot-native/usr/bin/x"], None),
        (["1", "a/1", "a/b/2", "a/b/c/3", "a/b/c/d/usr/bin/x"], ""),
    ],
)
def test_file_is_found_below_folders_that_hold_one_folder(
    store: Store, tmp_path: Path, paths: list[str], where: str | None
) -> None:
    pair = captured(store, tmp_path / "output", *paths)
    wanted = paths[0] if where is None else where
    assert find_below(store, pair, b"usr/bin/x") == (wanted.encode() or None)
