"""The candidates of a bisection, and their trees."""

from __future__ import annotations

from pathlib import Path

import pytest

from prov.bisect.candidates import candidates_of, pair_in, tree_id, tree_in
from prov.bisect.log import Question
from prov.errors import ProvError
from prov.records.build_list import BuildList
from prov.store.repository import Store
from prov.worktree.attributes import Pair
from tests.bisect.lab import NAME, record


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store.git")


def question(good: BuildList, bad: BuildList, name: str = NAME) -> Question:
    return Question(good.commit.hex(), bad.commit.hex(), name, ("true",))


def test_builds_are_ordered(store: Store) -> None:
    record(store, "before")
    builds = [record(store, text) for text in ("a", "a", None, "b")]
    candidates = candidates_of(store, question(builds[0], builds[-1]))
    assert [build.commit for build in candidates.builds] == [build.commit for build in builds]
    first, second, missing, last = candidates.trees
    assert first == second != last
    assert missing is None


@pytest.mark.parametrize(
    ("texts", "name", "message"),
    [
        (("a", "a"), NAME, "identical in the good and the bad build"),
        (("a", None), NAME, "has no app:image@output"),
        ((None, "a"), NAME, "has no app:image@output"),
        (("a", "b"), "lib:image@output", "has no lib:image"),
        (("a", "b"), "app:image@output/file", "has no app:image@output/file"),
    ],
)
def test_questions_without_an_answer(
    store: Store, texts: tuple[str | None, str | None], name: str, message: str
) -> None:
    good, bad = (record(store, text) for text in texts)
    with pytest.raises(ProvError, match=message):
        candidates_of(store, question(good, bad, name))


def test_the_good_build_is_the_older(store: Store) -> None:
    older, newer = record(store, "a"), record(store, "b")
    with pytest.raises(ProvError, match="is not before"):
        candidates_of(store, question(newer, older))


def test_a_tree_is_named_with_its_attributes(store: Store) -> None:
    build = record(store, "a")
    pair = pair_in(store, NAME, build)
    assert pair is not None
    assert tree_in(store, NAME, build) == tree_id(pair) == pair.tree.hex()
    assert tree_id(Pair(b"\1" * 20, b"\2" * 20)) == "01" * 20 + "+" + "02" * 20
