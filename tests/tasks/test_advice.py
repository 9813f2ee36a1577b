"""Tests of finding missing things in a log, and of suggesting recipes that have them."""

from __future__ import annotations

import stat
import time
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prov.records.keys import TaskKey
from prov.records.output import OUTPUT_MESSAGE, Output, write_output, write_output_commit
from prov.records.refs import OutputRef
from prov.store.refs import RefUpdate
from prov.store.repository import Store
from prov.tasks.advice import AT_MOST, LONGEST_LOG, advice, wanted
from prov.worktree.attributes import FileNode, Listing, Pair, TreeWriter, write_listing
from tests.records.samples import task_hash
from tests.tasks.samples import node_of


@pytest.mark.parametrize(
    ("log", "name", "path"),
    [
        (
            "a.c:1:10: fatal error: zlib.h: No such file or directory",
            "zlib.h",
            "usr/include/zlib.h",
        ),
        (
            "fatal error: gtk/gtk.h: No such file or directory",
            "gtk/gtk.h",
            "usr/include/gtk/gtk.h",
        ),
        ("/usr/bin/ld: cannot find -lz: No such file or directory", "libz", "usr/lib/libz.so"),
        ("ld.lld: error: unable to find library -lstdc++", "libstdc++", "lib64/libstdc++.a"),
        ("Package zlib was not found in the pkg-config search path.", "zlib.pc", None),
        ("Package 'zlib', required by 'virtual:world', not found", "zlib.pc", None),
        ("No package 'gtk+-3.0' found", "gtk+-3.0.pc", "usr/share/pkgconfig/gtk+-3.0.pc"),
        ("run.compile: 3: cmake: not found", "cmake", "usr/bin/cmake"),
        ("sh: line 1: bison: command not found", "bison", "bin/bison"),
        ("make: flex: No such file or directory", "flex", "usr/sbin/flex"),
    ],
)
def test_missing_things_in_a_log(log: str, name: str, path: str | None) -> None:
    ((found, paths),) = wanted(f"making all\n{log}\nmake: *** [all] Error 1\n")
    assert found == name
    assert path is None or path in paths


@pytest.mark.parametrize(
    "log",
    [
        "",
        "error: expected ';' before '}' token",
        "fatal error: : No such file or directory",
        f"fatal error: {'x' * 201}: No such file or directory",
        "cannot find -l",
        "not found",
    ],
)
def test_other_logs_name_nothing_missing(log: str) -> None:
    assert list(wanted(log)) == []


def test_a_log_is_searched_from_its_end() -> None:
    line = "fatal error: zlib.h: No such file or directory\n"
    assert list(wanted(line + " " * LONGEST_LOG)) == []
    assert len(list(wanted(" " * LONGEST_LOG + line))) == 1


@given(st.lists(st.sampled_from(["Package '", "', required by '", ": ", "a" * 300, "not found"])))
def test_any_log_is_searched_quickly(parts: list[str]) -> None:
    begun = time.monotonic()
    for name, paths in wanted("".join(parts) * 20):
        assert 0 < len(name) < 250
        assert paths
    assert time.monotonic() - begun < 5


def directory(writer: TreeWriter, paths: Iterable[str]) -> Pair:
    """Write a directory with files at these paths."""
    inside: dict[str, list[str]] = {}
    listing: Listing = {}
    for path in paths:
        top, _, below = path.partition("/")
        if below:
            inside.setdefault(top, []).append(below)
        else:
            oid = writer.add("blob", path.encode())
            listing[top.encode()] = FileNode(stat.S_IFREG | 0o644, oid)
    for top, below_top in inside.items():
        node = FileNode(stat.S_IFDIR | 0o755, pair=directory(writer, below_top))
        listing[top.encode()] = node
    return write_listing(writer, listing, mtimes=False)


def give(store: Store, **files: list[str]) -> None:
    """Record staging packages; the keywords are recipe names with `_` for `-`."""
    updates = []
    with store.objects.writer() as writer:
        for name, paths in files.items():
            recipe = name.replace("_", "-")
            output = write_output(writer, Output(directory(writer, paths)))
            commit = write_output_commit(writer, output, OUTPUT_MESSAGE)
            ref = OutputRef(TaskKey.of(recipe, "populate_sysroot"), task_hash(recipe))
            updates.append(RefUpdate(str(ref), commit, None))
    store.refs.update(*updates)


NO_HEADER = "fatal error: zlib.h: No such file or directory\n"
NO_PROGRAM = "sh: bison: not found\n"


def test_a_recipe_with_the_header_is_suggested(store: Store) -> None:
    give(store, zlib2=["image/usr/include/zlib.h"], other=["image/usr/include/other.h"])
    assert advice(store, node_of(), NO_HEADER) == [
        "add zlib2 to `depends` in zlib.toml: its output contains zlib.h"
    ]


def test_all_recipes_with_the_header_are_suggested(store: Store) -> None:
    give(store, zng=["image/usr/include/zlib.h"], miniz=["image/usr/include/zlib.h"])
    (line,) = advice(store, node_of(), NO_HEADER)
    assert line.startswith("add miniz or zng to ")


def test_a_program_needs_a_native_recipe(store: Store) -> None:
    give(store, bison=["image/usr/bin/bison"], bison_native=["image/usr/bin/bison"])
    assert advice(store, node_of(), NO_PROGRAM) == [
        "add bison to `depends_native` in zlib.toml: its output contains bison"
    ]
    native = node_of(arch="native")
    assert advice(store, native, NO_PROGRAM) == [
        "add bison to `depends` in zlib.toml: its output contains bison"
    ]


def test_a_native_recipe_needs_native_headers(store: Store) -> None:
    give(store, zlib2=["image/usr/include/zlib.h"])
    assert advice(store, node_of(arch="native"), NO_HEADER) == []


def test_no_recipe_has_the_header(store: Store) -> None:
    give(store, zlib=["image/usr/include/zlib.h"], other=["zlib.h"])
    assert advice(store, node_of(), NO_HEADER) == []  # its own output does not count
    assert advice(store, node_of(), "compiled\n") == []


def test_the_number_of_suggestions_is_limited(store: Store) -> None:
    headers = [f"h{number}.h" for number in range(AT_MOST + 3)]
    give(store, big=[f"image/usr/include/{header}" for header in headers])
    log = "".join(f"fatal error: {header}: No such file or directory\n" for header in headers)
    assert len(advice(store, node_of(), log)) == AT_MOST
