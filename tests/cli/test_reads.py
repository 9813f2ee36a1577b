"""`prov reads`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.story import Project, in_order
from tests.dependencies.story import add_reads, library, program, tiny, traced

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not shutil.which("bwrap"), reason="bwrap is not installed"),
]

APP = program("cat ${RECIPE_SYSROOT}/usr/include/a.h > result", "'a', 'b'")
RECIPES = {"a.toml": library("a"), "b.toml": library("b"), "app.toml": APP}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose task uses one of two dependencies."""
    made = tiny(tmp_path_factory.mktemp("reads"))
    made.build(RECIPES, "world")
    return Project(Path(made.root))


def test_opened_files_are_listed_by_package(built: Project) -> None:
    text = built.ask("reads", "app:link")
    in_order(
        text,
        "opens      complete",
        "probes     not recorded",
        "toolchain  complete",
        "a:stage",
        "opened  /build/sysroot/usr/include/a.h",
        "toolchain and rest of the machine",
        "shared, opened  /usr/bin/cat",
    )
    assert "b:stage" not in text
    group, tools = built.json("reads", "app:link")["groups"]
    assert (group["owner"], group["package"]) == ("package", "a:stage")
    assert [row["uses"] for row in group["paths"]] == [["opened"]]
    assert {"path": "/usr/bin/cat", "uses": ["shared", "opened"], "programs": []} in tools["paths"]


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_a_trace_lists_missing_files_and_programs(built: Project) -> None:
    built.prov("build", "--trace", "app:link", "app")
    missing = built.ask("reads", "app:link", "--missing")
    assert "  missing  /build/sysroot-native/usr/bin/cat" in missing
    assert "a:stage" not in missing
    groups = built.json("reads", "app:link")["groups"]
    [own] = [group for group in groups if group["package"] == "a:stage"]
    assert [row["programs"] for row in own["paths"]] == [["/usr/bin/cat"]]


def test_an_earlier_build_has_its_own_list(built: Project) -> None:
    built.prov("label", "reads-before")
    made = tiny(built.root)
    add_reads(made.store, "app:collect", traced("usr/include/b.h"))
    assert "usr/include/b.h" in built.ask("reads", "latest/app:collect")


def test_a_run_without_a_list_is_named(built: Project) -> None:
    built.prov("capture", "--as", "other:step", "recipes")
    refused = built.refused("reads", "other:step")
    assert "has no list of reads" in refused
    assert "hint: record a new run with `prov run --trace`" in refused
    assert "no run of app:none is recorded" in built.refused("reads", "app:none")
