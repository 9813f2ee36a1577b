"""Tests of host tools: the files of a tool, and their tree."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from prov.errors import BuildError
from prov.store.objects import EMPTY_TREE, MODE_EXECUTABLE, MODE_FILE, MODE_SYMLINK
from prov.store.odb import ObjectWriter
from prov.store.repository import Store
from prov.tasks.toolchain import (
    Toolchain,
    Toolchains,
    _alternatives,
    _link_chain,
    _real_parent,
    _write_files,
)
from tests.tasks.samples import TOOLS


@pytest.fixture
def writer(store: Store) -> ObjectWriter:
    """A writer whose objects can be read after it has finished."""
    return store.objects.writer()


@pytest.mark.parametrize(
    ("field", "names"),
    [
        ("", []),
        ("libc6", ["libc6"]),
        ("libc6 (>= 2.36), libgcc-s1", ["libc6", "libgcc-s1"]),
        ("gcc | clang, make:any", ["gcc", "clang", "make"]),
        ("libc6 [amd64], x <!nocheck>", ["libc6", "x"]),
        (", libc6,  ", ["libc6"]),
    ],
)
def test_names_in_a_field_of_dpkg(field: str, names: list[str]) -> None:
    assert _alternatives(field) == names


def test_links_to_folders_are_resolved(tmp_path: Path) -> None:
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "bin").symlink_to("usr/bin")
    (tmp_path / "usr/bin/sh").symlink_to("dash")
    assert _real_parent(f"{tmp_path}/bin/sh") == f"{tmp_path}/usr/bin/sh"


@pytest.mark.parametrize("target", ["dash", "../bin/dash", "/{top}/bin/dash"])
def test_a_chain_of_links_is_followed(tmp_path: Path, target: str) -> None:
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "bin").symlink_to("usr/bin")
    (tmp_path / "usr/bin/dash").write_text("")
    (tmp_path / "usr/bin/sh").symlink_to(target.format(top=str(tmp_path)[1:]))
    (tmp_path / "usr/bin/posix").symlink_to("sh")
    assert _link_chain(f"{tmp_path}/bin/posix") == [
        f"{tmp_path}/usr/bin/{name}" for name in ("posix", "sh", "dash")
    ]


def test_files_become_a_tree_at_their_paths(
    store: Store, writer: ObjectWriter, tmp_path: Path
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/tool").write_text("#!/bin/sh\n")
    (tmp_path / "bin/tool").chmod(0o4711)
    (tmp_path / "bin/data").write_text("1\n")
    (tmp_path / "bin/data").chmod(0o600)
    (tmp_path / "bin/link").symlink_to("tool")
    paths = sorted(f"{tmp_path}/bin/{name}" for name in ("tool", "data", "link"))
    pair = _write_files(writer, paths)
    writer.finish()
    folder = store.objects.entry(pair.tree, f"{tmp_path}/bin".strip("/"))
    assert folder is not None
    modes = {entry.name: entry.mode for entry in store.objects.tree(folder.oid)}
    assert modes == {b"data": MODE_FILE, b"link": MODE_SYMLINK, b"tool": MODE_EXECUTABLE}
    assert pair.attributes is None  # neither owners nor setuid bits


def test_a_path_below_a_link_is_skipped(store: Store, writer: ObjectWriter, tmp_path: Path) -> None:
    (tmp_path / "usr").mkdir()
    (tmp_path / "usr/a").write_text("1\n")
    (tmp_path / "bin").symlink_to("usr")
    pair = _write_files(writer, [f"{tmp_path}/bin", f"{tmp_path}/bin/a", f"{tmp_path}/usr/a"])
    writer.finish()
    link = store.objects.entry(pair.tree, f"{tmp_path}/bin".strip("/"))
    assert link is not None
    assert link.mode == MODE_SYMLINK


def test_no_files_are_the_empty_tree(writer: ObjectWriter) -> None:
    assert _write_files(writer, []).tree == EMPTY_TREE


def test_links_to_tools_are_made_once(store: Store) -> None:
    toolchains = Toolchains(store, "/usr/bin:/bin")
    folder = toolchains.links(TOOLS)
    assert {path.name: os.readlink(path) for path in folder.iterdir()} == dict(TOOLS.programs)
    seal = folder.stat().st_ctime_ns
    assert toolchains.links(TOOLS) == folder
    assert folder.stat().st_ctime_ns == seal
    other = toolchains.links(Toolchain(EMPTY_TREE, (("sh", "/bin/sh"),)))
    assert other != folder


def test_the_root_of_a_toolchain_is_placed_on_disk(
    store: Store, writer: ObjectWriter, tmp_path: Path
) -> None:
    (tmp_path / "tool").write_text("1\n")
    pair = _write_files(writer, [f"{tmp_path}/tool"])
    writer.finish()
    toolchains = Toolchains(store, "")
    root = toolchains.root(Toolchain(pair.tree, ()))
    assert (root / str(tmp_path / "tool").strip("/")).read_text() == "1\n"
    assert toolchains.root(Toolchain(pair.tree, ())) == root


def test_a_missing_tool_is_reported(store: Store, tmp_path: Path) -> None:
    toolchains = Toolchains(store, str(tmp_path))
    with pytest.raises(BuildError, match="zlib:compile: the host tool cmake is not installed"):
        toolchains.capture(("cmake",), "zlib:compile")


def test_a_missing_optional_tool_is_skipped(store: Store, tmp_path: Path) -> None:
    store.refs.list("refs/")
    toolchains = Toolchains(store, str(tmp_path))
    toolchains._known["cmake?",] = TOOLS
    assert toolchains.capture(("cmake?",), "zlib:compile") is TOOLS
    assert toolchains.remembered() == set()
