"""`prov capture` and `prov run`, without a recipe."""

from __future__ import annotations

import os
import time
from pathlib import Path

from prov.store import joining
from prov.store.repository import Store
from tests.cli.projects import Prov


def test_capture_and_run_need_no_recipe(prov: Prov, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "a").write_text("one\n")
    prov("init")
    tag = prov("capture", str(work), "--as", "app:unpack").stdout.strip()
    assert tag.startswith("app/unpack/")
    done = prov(
        "run", "-C", str(work), "--as", "app:compile", "--", "sh", "-c", "echo hi; echo two > b"
    )
    assert done.stdout == "hi\n"
    assert prov("diff", "app:compile").stdout == "A b\n"
    assert "hi" in prov("show", "app:compile").stdout
    assert (
        prov(
            "run", "-C", str(work), "--as", "app:test", "--", "sh", "-c", "exit 5", code=5
        ).returncode
        == 5
    )
    prov("checkout", "app:compile", str(tmp_path / "copy"))
    assert sorted(path.name for path in (tmp_path / "copy").iterdir()) == ["a", "b"]
    prov("checkout", "app:compile", str(tmp_path / "links"), "--link")
    assert (tmp_path / "links" / "a").stat().st_nlink == 2


def test_a_capture_stores_versions_of_an_image_as_deltas(prov: Prov, tmp_path: Path) -> None:
    work, store = tmp_path / "work", tmp_path / "store"
    work.mkdir()
    image = os.urandom(joining.LARGE_PACK + 1)
    for number in range(joining.LARGE_PACKS):
        (work / "image").write_bytes(image[:-1] + b"%d" % number)
        prov("capture", str(work), "--as", "app:image", "--store", str(store))
    end = time.monotonic() + 100
    while Store.open(store).objects.size() > 2 * len(image) and time.monotonic() < end:
        time.sleep(0.1)
    assert Store.open(store).objects.size() < 1.1 * len(image)
    prov("checkout", "app:image", str(tmp_path / "copy"), "--store", str(store))
    assert (tmp_path / "copy" / "image").read_bytes() == (work / "image").read_bytes()
