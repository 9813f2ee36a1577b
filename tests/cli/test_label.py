"""`prov label`."""

from __future__ import annotations

import pytest

from tests.cli.story import Project

pytestmark = pytest.mark.process


def test_label_is_set_moved_listed_and_removed(two: Project) -> None:
    newest, first = two.git("log", "--format=%H", "builds").split()
    assert two.ask("label", "good") == f"good is build {newest[:12]}\n"
    assert (
        two.ask("label", "good", "latest~1") == f"good is build {first[:12]} (was {newest[:12]})\n"
    )
    two.prov("label", "other")
    assert [line.split()[:2] for line in two.ask("label").splitlines()] == [
        ["good", first[:12]],
        ["other", newest[:12]],
    ]
    assert [(row["label"], row["build"]) for row in two.json("label")["labels"]] == [
        ("good", first),
        ("other", newest),
    ]
    assert "list of labels" in two.prov("label", "good", "--json", code=2).stderr
    assert [row["labels"] for row in two.json("builds")["builds"]] == [["other"], ["good"]]
    assert two.ask("builds", "-n", "1").splitlines()[0].endswith("  other")
    two.prov("label", "--remove", "good")
    assert [line.split()[0] for line in two.ask("label").splitlines()] == ["other"]
    assert (
        two.git("for-each-ref", "--format=%(refname)", "refs/prov/label")
        == "refs/prov/label/other\n"
    )


@pytest.mark.parametrize(
    "name", ["latest", "builds", "a..b", ".a", "a.lock", "a.", "a b", "a/b", "-a", "a~1", "ä"]
)
def test_invalid_label_is_rejected_with_a_hint(two: Project, name: str) -> None:
    assert f"invalid label {name!r} hint: " in two.refused("label", "--", name)
    assert two.ask("label") == ""


def test_unknown_labels_and_builds_are_rejected(two: Project) -> None:
    two.prov("label", "good")
    assert "no label is named god hint: did you mean good?" in two.refused(
        "label", "--remove", "god"
    )
    assert "no build is named god hint: did you mean good?" in two.refused("label", "better", "god")
    assert "builds precede latest" in two.refused("pin", "latest~2")
