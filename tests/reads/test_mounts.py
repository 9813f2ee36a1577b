"""Tests of the files in a sandbox."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from prov.reads.mounts import Mounts


@pytest.fixture
def mounts(tmp_path: Path) -> Mounts:
    (tmp_path / "usr/lib").mkdir(parents=True)
    (tmp_path / "usr/lib/libz.so").write_bytes(b"\x7fELF")
    (tmp_path / "usr/lib/link.so").symlink_to("/usr/lib/libz.so")
    (tmp_path / "work/sysroot").mkdir(parents=True)
    (tmp_path / "sysroot").mkdir()
    (tmp_path / "sysroot/a.h").write_text("a")
    command = ["bwrap", "--tmpfs", "/tmp", "--dev", "/dev", "--tmpfs", "/etc"]
    command += ["--ro-bind", f"{tmp_path}/usr", "/usr", "--symlink", "usr/lib", "/lib"]
    command += ["--ro-bind-try", f"{tmp_path}/none", "/etc/none"]
    command += ["--bind", f"{tmp_path}/work", "/build/work/a"]
    command += ["--ro-bind", f"{tmp_path}/sysroot", "/build/work/a/sysroot"]
    return Mounts.of([*command, "--chdir", "/build", "sh", "--tmpfs", "/usr"])


FOLDERS = ["/", "/tmp", "/etc", "/usr", "/usr/lib", "/build", "/build/work", "/build/work/a"]


@pytest.mark.parametrize("path", [*FOLDERS, "/build/work/a/sysroot"])
def test_folders(mounts: Mounts, path: str) -> None:
    before = mounts.lookup(os.fsencode(path))
    assert before is not None
    assert before.is_directory


@pytest.mark.parametrize("path", ["/etc/passwd", "/etc/none", "/usr/none", "/home", "/tmp/x"])
def test_what_is_not_in_the_sandbox_is_missing(mounts: Mounts, path: str) -> None:
    assert mounts.lookup(os.fsencode(path)) is None
    assert mounts.names(os.fsencode(path)) == []
    assert mounts.head(os.fsencode(path)) == b""


def test_files_and_links(mounts: Mounts) -> None:
    library, link = mounts.lookup(b"/usr/lib/libz.so"), mounts.lookup(b"/usr/lib/link.so")
    assert library is not None
    assert stat.S_ISREG(library.mode)
    assert mounts.head(b"/usr/lib/libz.so") == b"\x7fELF"
    assert link is not None
    assert link.target == b"/usr/lib/libz.so"
    top = mounts.lookup(b"/lib")
    assert top is not None
    assert (top.is_link, top.target) == (True, b"usr/lib")
    device = mounts.lookup(b"/dev/null")
    assert device is not None
    assert stat.S_ISCHR(device.mode)


def test_names_include_mounts(mounts: Mounts) -> None:
    assert mounts.names(b"/") == [b"build", b"dev", b"etc", b"lib", b"tmp", b"usr"]
    assert mounts.names(b"/build/work/a/sysroot") == [b"a.h"]
    assert mounts.names(b"/build/work/a") == [b"sysroot"]
    assert mounts.names(b"/etc") == []


def test_a_later_mount_hides_an_earlier_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    inside = ["--ro-bind", f"{tmp_path}/file", "/etc/file"]
    hidden = Mounts.of(["bwrap", *inside, "--tmpfs", "/etc"])
    shown = Mounts.of(["bwrap", "--tmpfs", "/etc", *inside])
    assert hidden.lookup(b"/etc/file") is None
    assert shown.lookup(b"/etc/file") is not None
