"""40 packages, of which 12 are used: what `prov advise` concludes from real builds."""

from __future__ import annotations

import subprocess

import pytest

from prov.dependencies.findings import Certainty
from prov.dependencies.patches import patch_of
from prov.recipes.project import Project
from prov.records.keys import TaskKey
from tests.dependencies.forty import INVISIBLE, UNUSED, USED, recipes
from tests.dependencies.story import advise, tiny, tried
from tests.history.tiny import Tiny

pytestmark = [pytest.mark.process, pytest.mark.slow]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    project = tiny(tmp_path_factory.mktemp("forty"))
    project.build(recipes(), "world")
    return project


@pytest.fixture(scope="module")
def traced(watched: Tiny) -> Tiny:
    watched.build(recipes(), "world", trace=("app:link",))
    return watched


def test_without_traces_no_used_package_is_called_unused(watched: Tiny) -> None:
    advice = advise(watched, "app")
    assert {own.certainty for own in advice.unused} == {Certainty.CANDIDATE}
    names = {own.package.recipe for own in advice.unused}
    assert names == {*UNUSED, *INVISIBLE}
    assert len(UNUSED) + len(USED) == 40


def test_traces_name_the_unused_packages_and_no_other(traced: Tiny) -> None:
    advice = advise(traced, "app")
    assert {own.certainty for own in advice.unused} == {Certainty.TRACED}
    assert tuple(own.package.recipe for own in advice.unused) == UNUSED
    assert [own.provider for own in advice.floating] == ["floating"]
    assert [own.package.recipe for own in advice.transitive] == ["brought"]
    assert [own.tool for own in advice.idle] == ["ar", "ln", "chmod"]
    assert advice.unknown == ()


def test_the_unused_packages_are_proved_together(traced: Tiny) -> None:
    trials = tried(traced, "app", *UNUSED)
    assert {name: trial.problem for name, trial in trials.items()} == dict.fromkeys(UNUSED, "")


def test_the_patch_builds_the_same_output(traced: Tiny) -> None:
    project = Project.load(traced.root)
    patch = patch_of(project, advise(traced, "app")).text
    before = traced.latest().lines("app")[TaskKey("app:collect")].output
    subprocess.run(["patch", "-p1"], cwd=traced.root, input=patch, text=True, check=True)
    texts = {**recipes(), "app.toml": (traced.root / "recipes/app.toml").read_text()}
    traced.build(texts, "world")
    assert traced.latest().lines("app")[TaskKey("app:collect")].output == before
    assert len(Project.load(traced.root).recipe("app").depends) == len(USED) + 2
