"""Advice on the recipes of a small project, built in sandboxes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from prov.dependencies.advice import Advice, Advisor
from prov.dependencies.findings import Transitive
from prov.dependencies.patches import patch_of
from prov.errors import NameUnknown
from prov.reads.reads import NOT_RECORDED, Reads, incomplete
from prov.recipes.project import Project
from prov.records.keys import TaskKey
from tests.dependencies.story import add_reads, advise, library, program, tiny, traced
from tests.history.tiny import Tiny

pytestmark = pytest.mark.process

RECIPES = {
    "used.toml": library("used", "rdepends = ['brought']"),
    "brought.toml": library("brought"),
    "unused.toml": library("unused"),
    "floating.toml": library("floating"),
    "above.toml": library("above", "depends = ['app']"),
    "app.toml": program(
        "cat ${RECIPE_SYSROOT}/usr/include/used.h > result",
        "'used', 'unused'",
    ),
}
LINK = "app:link"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    project = tiny(tmp_path_factory.mktemp("advice"))
    project.build(RECIPES, "world")
    return project


def test_a_build_without_traces_gives_candidates(built: Tiny) -> None:
    advice = advise(built, "app")
    assert [(own.package, str(own.certainty)) for own in advice.unused] == [
        ("unused:stage", "candidate")
    ]
    assert not (advice.floating or advice.unknown)


def test_nothing_is_concluded_without_reads(built: Tiny) -> None:
    add_reads(built.store, LINK, Reads((), NOT_RECORDED))
    advice = advise(built, "app")
    assert [own.task for own in advice.unknown] == [LINK]
    assert not (advice.unused or advice.floating or advice.transitive)


def test_nothing_is_named_after_an_overflow(built: Tiny) -> None:
    add_reads(built.store, LINK, traced(opens=incomplete("overflow")))
    advice = advise(built, "app")
    assert [own.reason for own in advice.unknown] == ["incomplete: overflow"]
    assert advice.unused == ()


def test_a_planted_dependency_of_each_kind_is_named(built: Tiny) -> None:
    lookups = ("usr/include/floating.h", "usr/include/above.h", "usr/include/none.h")
    paths = ("usr/include/used.h", "usr/include/brought.h")
    add_reads(built.store, LINK, traced(*paths, missing=lookups))
    advice = advise(built, "app")
    assert [(own.package, str(own.certainty)) for own in advice.unused] == [
        ("unused:stage", "traced")
    ]
    assert [(own.provider, own.is_cyclic) for own in advice.floating] == [
        ("above", True),
        ("floating", False),
    ]
    assert [own.package for own in advice.transitive] == ["brought:stage"]
    assert advice.transitive[0].chain == ("app depends on used", "which needs brought at run time")
    patch = patch_of(Project.load(built.root), advice)
    assert patch.text.splitlines() == [
        "--- a/recipes/app.toml",
        "+++ b/recipes/app.toml",
        "@@ -1,6 +1,6 @@",
        " version = '1'",
        " build = ['collect']",
        "-depends = ['used', 'unused']",
        """+depends = ['used', "brought", "floating"]""",
        " ",
        " [tasks.link]",
        " needs = ['@depends:stage']",
    ]
    assert patch.left_out == ()


def test_what_only_a_removed_dependency_needs_is_removed_with_it(built: Tiny) -> None:
    advisor = Advisor(built.store, Project.load(built.root))
    advice = Advice("app")
    assert advisor.removed_with(advice, ["unused"]) == {"unused"}
    assert advisor.removed_with(advice, ["used"]) == {"used", "brought"}
    declared = Transitive("app", TaskKey("brought:stage"), (), ())
    assert advisor.removed_with(replace(advice, transitive=(declared,)), ["used"]) == {"used"}


def test_a_recipe_without_a_build_is_named(built: Tiny) -> None:
    built.write({**RECIPES, "new.toml": library("new")})
    with pytest.raises(NameUnknown, match="no build of new is recorded"):
        advise(built, "new")


def test_what_a_configure_script_did_not_find_is_floating(tmp_path: Path) -> None:
    """The recipe that provides it is not in the latest build."""
    project = tiny(tmp_path)
    log = "printf 'configure:1: checking for floating.h\\nconfigure:1: result: no\\n'"
    app = program(f"{log} > config.log; echo > result", "")
    recipes = {"floating.toml": RECIPES["floating.toml"], "app.toml": app}
    project.build(recipes, "world")
    project.build({**recipes, "app.toml": app.replace("echo >", "date >")}, "app")
    [floating] = advise(project, "app").floating
    assert floating.provider == "floating"
    assert floating.evidence == ("app:collect: config.log: header floating.h not found",)


def test_dependencies_of_a_class_are_left_out_of_patches(tmp_path: Path) -> None:
    project = tiny(tmp_path)
    shared = "depends = ['unused']\n"
    app = program("echo > result", "", "inherit = ['shared']").replace("depends = []\n", "")
    (tmp_path / "classes").mkdir(parents=True)
    (tmp_path / "classes" / "shared.toml").write_text(shared)
    texts = {"unused.toml": RECIPES["unused.toml"], "app.toml": app}
    project.build(texts, "world")
    add_reads(project.store, LINK, traced())
    patch = patch_of(Project.load(tmp_path), advise(project, "app"))
    assert (patch.text, patch.left_out) == ("", ("recipes/app.toml does not list unused",))
