"""`prov builds`."""

from __future__ import annotations

import pytest

from tests.cli.story import Project

pytestmark = pytest.mark.process


def test_newest_build_is_first_with_its_result_tasks_and_labels(two: Project) -> None:
    two.task("exit 1")
    two.prov("build", "a", code=1)
    two.prov("label", "good", "latest~1")
    two.prov("pin", "latest~1")
    failed, good, first = two.ask("builds").splitlines()
    assert "  failed       a:go  1 failed; " in failed
    assert "  ok           a:go  1 ran; " in good
    assert good.endswith("  good, pinned")
    assert two.ask("builds", "-n", "1").splitlines() == [failed]
    rows = two.json("builds")["builds"]
    assert [row["id"][:12] for row in rows] == [line[:12] for line in (failed, good, first)]
    assert [(row["labels"], row["pinned"]) for row in rows] == [
        ([], False),
        (["good"], True),
        ([], False),
    ]


def test_build_without_a_run(two: Project) -> None:
    two.prov("build", "a")
    assert "  nothing to do; " in two.ask("builds", "-n", "1")
