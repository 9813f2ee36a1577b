"""`prov du`."""

from __future__ import annotations

import pytest

from tests.cli.story import Project

pytestmark = pytest.mark.process


def test_rows_add_up(two: Project) -> None:
    *rows, total = [line.split() for line in two.ask("du").splitlines()]
    assert {"a", "builds"} <= {row[0] for row in rows}
    assert total[0] == "all"
    assert all(row[-1] in ("object", "objects") for row in rows)


@pytest.mark.parametrize("by", ["recipe", "task", "kind", "part", "build"])
def test_json_has_sizes_in_bytes(two: Project, by: str) -> None:
    answer = two.json("du", "--by", by)
    assert (answer["schema"], answer["by"]) == (1, by)
    assert all(row["bytes"] > 0 and row["objects"] > 0 for row in answer["rows"])
