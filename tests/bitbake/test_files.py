"""Files that the layer writes: it replaces symlinks at their paths, and never follows them."""

from __future__ import annotations

import os
import re
import stat
import sys
from pathlib import Path

import pytest

from prov.bitbake.setup import layer

sys.path.insert(0, str(layer() / "lib"))
from provlayer import files

LAYER = sorted((layer() / "lib").rglob("*.py"))


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "target"
    path.write_text("the user's\n")
    return path


@pytest.mark.parametrize("before", ["nothing", "a file", "a link", "a dangling link", "a hardlink"])
def test_new_file_replaces_an_existing_entry(tmp_path: Path, target: Path, before: str) -> None:
    path = tmp_path / "new"
    match before:
        case "a file":
            path.write_text("old\n")
        case "a link":
            path.symlink_to(target)
        case "a dangling link":
            path.symlink_to(tmp_path / "none")
        case "a hardlink":
            os.link(target, path)
    with files.create(str(path)) as stream:
        stream.write("ours\n")
    assert path.read_text() == "ours\n" and not path.is_symlink()
    assert target.read_text() == "the user's\n" and not (tmp_path / "none").exists()
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask


def test_atomic_write_follows_no_symlink(tmp_path: Path, target: Path) -> None:
    path = tmp_path / "list"
    path.symlink_to(target)
    beside = tmp_path / f"list.{os.getpid()}"
    beside.symlink_to(target)
    files.write(str(path), ["a\n", "b\n"])
    assert path.read_text() == "a\nb\n" and not path.is_symlink()
    assert target.read_text() == "the user's\n"
    assert not os.path.lexists(beside)


@pytest.mark.parametrize("path", LAYER, ids=lambda path: path.name)
def test_layer_writes_files_only_through_this_module(path: Path) -> None:
    assert not re.search(r"(?<!os\.)\bopen\([^\n]*, \"[wax]", path.read_text())
