"""`prov pin`."""

from __future__ import annotations

import pytest

from tests.cli.story import Project

pytestmark = pytest.mark.process


def test_pin_is_set_shown_and_removed(two: Project) -> None:
    first = two.git("rev-parse", "builds~1").strip()
    assert two.ask("pin", "latest~1") == f"build {first[:12]} is pinned\n"
    assert two.git("for-each-ref", "--format=%(objectname)", "refs/prov/pin").split() == [first]
    assert [row["pinned"] for row in two.json("builds")["builds"]] == [False, True]
    assert two.ask("builds").splitlines()[1].endswith("  pinned")
    for _ in range(2):  # the second time, the build is not pinned
        two.prov("pin", "--remove", "latest~1")
        assert two.git("for-each-ref", "refs/prov/pin") == ""
