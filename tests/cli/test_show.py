"""`prov show`."""

from __future__ import annotations

import pytest

from tests.cli.story import Project

pytestmark = pytest.mark.process


def test_run_of_a_build_is_shown_by_name_or_tag(two: Project) -> None:
    old, new = (two.json("show", name)["run"]["tag"] for name in ("latest~1/a:go", "a:go"))
    assert old != new
    assert two.ask("show", old) == two.ask("show", "latest~1/a:go")
    assert "is not a run hint: write recipe:task, or a tag" in two.refused("show", "b")
