"""`-C`, `--store` and `--no-pager` work before and after the command."""

from __future__ import annotations

import pytest

from tests.cli.story import Project

pytestmark = pytest.mark.process


def test_global_options_work_before_and_after_the_command(two: Project) -> None:
    answer = two.ask("builds")
    elsewhere = Project(two.root.parent)
    store = str(two.root / ".prov")
    for arguments in (
        ("--store", store, "builds"),
        ("builds", "--store", store),
        ("-C", str(two.root), "builds"),
        ("builds", "-C", str(two.root)),
        ("-C", str(two.root), "--store", ".prov", "builds"),
        ("--store", ".prov", "-C", str(two.root), "builds"),
    ):
        assert elsewhere.ask(*arguments) == answer, arguments
    assert elsewhere.ask("--store", store, "remote", "list") == ""
    assert "none: No such file" in elsewhere.prov("-C", "none", "builds", code=2).stderr


def test_run_keeps_its_own_directory(two: Project) -> None:
    (two.root / "below").mkdir()
    two.prov("run", "-C", "below", "--as", "x:y", "--", "touch", "file")
    assert (two.root / "below/file").exists()
