"""Reads of BitBake's tasks, from records as the writer makes them."""

from __future__ import annotations

import pytest

from prov.dependencies.openembedded_reads import OpenEmbeddedReader, is_native
from prov.dependencies.task_reads import Owner, PathGroup, run_reads
from prov.errors import NameUnknown
from prov.history.names import find_run
from prov.reads.reads import COMPLETE, NOT_RECORDED, Read, Reads
from prov.records.entries import SYSROOT_OF
from prov.store.repository import Store
from tests.dependencies.story import add_entries, add_reads
from tests.history.recorded import BEGAN, Recorder

WORK = "/build/tmp/work/x86_64-linux"
WORKDIR = "/build/tmp/work/core2/app/1.0"
TARGET, NATIVE = f"{WORKDIR}/recipe-sysroot", f"{WORKDIR}/recipe-sysroot-native"
ROWS = "zlib hash-zlib\ntool-native hash-tool\ngone hash-gone\n../x hash\n"


def facts(name: str, task_hash: str) -> dict[str, str]:
    return {"bitbake-taskhash": task_hash, "workdir": f"{WORK}/{name}/1.0"}


@pytest.fixture
def recorded(store: Store) -> Store:
    recorder = Recorder(store, BEGAN)
    tool = f"sysroot-destdir{WORK}/tool-native/1.0/recipe-sysroot-native/usr/bin/tool"
    # the newest run only restored shared state, and its WORKDIR is empty
    for files in ({"sysroot-destdir/usr/include/zlib.h": ""}, {"x": ""}):
        recorder.run(
            "zlib:do_populate_sysroot", {"script": ""}, files, facts=facts("zlib", "hash-zlib")
        )
    recorder.run(
        "tool-native:do_populate_sysroot",
        {"script": ""},
        {tool: ""},
        facts=facts("tool-native", "hash-tool"),
    )
    recorder.run(
        "app:do_compile", {"script": ""}, {}, facts={**facts("", "hash"), "workdir": WORKDIR}
    )
    add_entries(store, "app:do_compile", {SYSROOT_OF: ROWS.encode()})
    return store


def test_packages_have_the_paths_in_the_sysroots(recorded: Store) -> None:
    (run,) = OpenEmbeddedReader(recorded).runs(find_run(recorded, "app:do_compile").key)
    assert run.reads is None
    assert [(own.key.recipe, own.places) for own in run.packages] == [
        ("zlib", (TARGET,)),
        ("tool-native", (NATIVE,)),
        ("gone", ()),  # its files are not recorded
    ]
    assert [sorted(own.items) for own in run.packages[:2]] == [
        ["usr", "usr/include", "usr/include/zlib.h"],
        ["usr", "usr/bin", "usr/bin/tool"],
    ]


def test_reads_are_grouped_by_recipe(recorded: Store) -> None:
    paths = (f"{TARGET}/usr/include/zlib.h", f"{NATIVE}/usr/bin/tool", f"{WORKDIR}/a.c", TARGET)
    reads = Reads.of([Read(path, "o") for path in paths], COMPLETE, NOT_RECORDED)
    add_reads(recorded, "app:do_compile", reads)
    answer = run_reads(recorded, find_run(recorded, "app:do_compile"))
    assert {group: rows[0].path for group, rows in answer.groups.items()} == {
        PathGroup(Owner.PACKAGE, "zlib:do_populate_sysroot"): paths[0],
        PathGroup(Owner.PACKAGE, "tool-native:do_populate_sysroot"): paths[1],
        PathGroup(Owner.SYSROOTS): paths[3],
        PathGroup(Owner.WORKDIR): paths[2],
    }


def test_a_run_without_a_list(recorded: Store) -> None:
    with pytest.raises(NameUnknown, match="has no list of reads") as error:
        run_reads(recorded, find_run(recorded, "app:do_compile"))
    assert "bitbake -f -c TASK RECIPE" in error.value.hint


@pytest.mark.parametrize(
    ("recipe", "native"),
    [("zlib", False), ("zlib-native", True), ("gcc-cross-x86_64", True), ("mc.two.app", False)],
)
def test_native_recipes(recipe: str, native: bool) -> None:
    assert is_native(recipe) == native
