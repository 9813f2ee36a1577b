"""Proofs that dependencies are not needed, by running tasks without them."""

from __future__ import annotations

import pytest

from prov.dependencies.advice import Advice
from prov.dependencies.findings import Certainty, Unused
from prov.dependencies.proof import Trial, with_proofs
from prov.records.keys import TaskKey
from tests.dependencies.story import library, program, tiny, tried
from tests.history.tiny import Tiny

INCLUDE = "${RECIPE_SYSROOT}/usr/include"
RECIPES = {
    **{f"{name}.toml": library(name) for name in ("a", "b", "c", "d")},
    "app.toml": program(
        # a is needed, b changes the output, and one of c and d is needed
        f"cat {INCLUDE}/a.h; ls {INCLUDE}/b.h > result || true; cat {INCLUDE}/[cd].h",
        "'a', 'b', 'c', 'd'",
    ),
    "random.toml": program("cat /proc/sys/kernel/random/uuid > result", "'a'"),
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    project = tiny(tmp_path_factory.mktemp("proof"))
    project.build(RECIPES, "world")
    return project


@pytest.mark.process
def test_a_dependency_is_proved_or_refuted(built: Tiny) -> None:
    before = built.store.refs.list("refs/")
    trials = tried(built, "app", "a", "b", "c", "d")
    assert [trials[name].is_proof for name in "abcd"] == [False, False, True, False]
    assert trials["a"].problem.startswith("app:link failed: ")
    assert trials["b"].problem == "app:collect has a different output without it"
    assert trials["d"].without == ("c", "d")
    assert built.store.refs.list("refs/") == before


@pytest.mark.process
def test_unneeded_dependencies_are_proved_together(built: Tiny) -> None:
    trials = tried(built, "app", "c")
    assert trials == {"c": Trial(("c",))}


@pytest.mark.process
def test_what_leaves_with_a_dependency_is_missing_too(built: Tiny) -> None:
    trial = tried(built, "app", "c", removed=lambda _names: ["a"])["c"]
    assert trial.problem.startswith("app:link failed: ")


@pytest.mark.process
def test_nothing_is_proved_by_a_task_that_is_not_reproducible(built: Tiny) -> None:
    trial = tried(built, "random", "a")["a"]
    assert (trial.is_proof, trial.is_conclusive) == (False, False)
    assert trial.problem == "random:collect has a different output"


UNUSED = Unused("app", TaskKey("a:stage"), Certainty.CANDIDATE, (), "listed")


@pytest.mark.parametrize(
    ("trial", "certainty", "reason"),
    [
        (Trial(("a",)), Certainty.PROVED, ""),
        (Trial(("a",), "it failed"), Certainty.NEEDED, "it failed"),
        (Trial(("a",), "random", is_conclusive=False), Certainty.CANDIDATE, "random"),
    ],
)
def test_certainty_after_a_trial(trial: Trial, certainty: Certainty, reason: str) -> None:
    advice = with_proofs(Advice("app", (UNUSED,)), {"a": trial})
    assert [(own.certainty, own.reason) for own in advice.unused] == [(certainty, reason)]
    assert with_proofs(Advice("app", (UNUSED,)), {}).unused == (UNUSED,)
