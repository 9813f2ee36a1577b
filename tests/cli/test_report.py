"""`prov report`."""

from __future__ import annotations

import pytest

from tests.cli.story import Project

pytestmark = pytest.mark.process


def test_a_page_is_written(two: Project) -> None:
    done = two.prov("report")
    assert done.stdout == ""
    assert done.stderr == "prov: wrote prov-report.html; open it in a browser\n"
    assert (two.root / "prov-report.html").read_text().startswith("<!doctype html>")


def test_a_page_of_an_older_build_replaces_a_file(two: Project) -> None:
    page = two.write("page.html", "old")
    two.prov("report", "latest~1", "-o", "page.html")
    assert "a:go" in page.read_text()
