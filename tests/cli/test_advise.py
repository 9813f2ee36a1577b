"""`prov advise`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.story import Project, in_order
from tests.dependencies.story import add_reads, library, program, tiny, traced

pytestmark = pytest.mark.process

NEEDS_BWRAP = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bwrap is not installed")
APP = program("cat ${RECIPE_SYSROOT}/usr/include/used.h > result", "'used', 'unused'")
TOOLS = "hosttools = ['date', 'cp']"
RECIPES = {
    "used.toml": library("used"),
    "unused.toml": library("unused"),
    "floating.toml": library("floating"),
    "app.toml": APP.replace("[tasks.collect]", f"[tasks.collect]\n{TOOLS}"),
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with an unused and a floating dependency, and a trace of one task."""
    made = tiny(tmp_path_factory.mktemp("advise"))
    made.build(RECIPES, "world")
    reads = traced("usr/include/used.h", missing=("usr/include/floating.h",))
    add_reads(made.store, "app:link", reads)
    return Project(Path(made.root))


def test_findings_are_listed_with_their_evidence(built: Project) -> None:
    in_order(
        built.ask("advise", "app"),
        "app",
        "unused      unused:stage: no use in the traces of app:link",
        "floating    floating: app:link looked for usr/include/floating.h; declare or disable it",
    )


@NEEDS_BWRAP
def test_a_tool_of_an_untraced_task_is_a_candidate(built: Project) -> None:
    reason = "0 of 1 complete traces of app:collect are recorded"
    in_order(
        built.ask("advise", "app"),
        f"candidate   date: a host tool of app:collect: {reason}",
    )
    [advice] = built.json("advise", "app")["recipes"]
    assert advice["idle"] == [
        {"task": "app:collect", "tool": "date", "certainty": "candidate", "reason": reason}
    ]


def test_a_recipe_without_dependencies_has_no_findings(built: Project) -> None:
    assert built.ask("advise", "used") == "used: no findings\n"


def test_all_recipes_of_the_last_build_are_the_default(built: Project) -> None:
    lines = built.ask("advise").splitlines()
    assert [line.partition(":")[0] for line in lines if not line.startswith(" ")] == [
        *("app", "floating", "unused", "used"),
    ]


def test_an_unused_dependency_is_proved_and_removed_by_the_patch(built: Project) -> None:
    refs = built.refs()
    assert "proved: the outputs are the same without it" in built.ask("advise", "app", "--prove")
    [advice] = built.json("advise", "app", "--prove")["recipes"]
    assert [(own["package"], own["certainty"]) for own in advice["unused"]] == [
        ("unused:stage", "proved")
    ]
    assert (built.refs(), built.leftovers()) == (refs, [])
    patch = built.ask("advise", "app", "--patch")
    assert patch.rstrip("\n") == advice["patch"].rstrip("\n")
    assert "+depends = ['used', \"floating\"]" in patch.splitlines()


def test_more_traces_can_be_required(built: Project) -> None:
    assert "candidate   unused:stage: 1 of 2 complete traces of app:link are recorded" in built.ask(
        "advise", "app", "--traces", "2"
    )


def test_an_unknown_recipe_is_refused(built: Project) -> None:
    assert "no recipe is named ap" in built.refused("advise", "ap")
