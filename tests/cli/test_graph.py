"""`prov graph`."""

from __future__ import annotations

import pytest

from tests.cli.story import Project

pytestmark = pytest.mark.process


def test_a_build_is_drawn(two: Project) -> None:
    assert two.ask("graph").startswith("<svg")
    assert 'tooltip="a:go: ran"' in two.ask("graph", "latest~1", "--format", "dot")


def test_a_drawing_is_written_to_a_file(two: Project) -> None:
    assert two.ask("graph", "-o", "graph.svg") == ""
    assert (two.root / "graph.svg").read_text() + "\n" == two.ask("graph")
