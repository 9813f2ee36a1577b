"""`prov plan`."""

from __future__ import annotations

from pathlib import Path

from tests.cli.projects import Prov, one_task, write
from tests.schema.check import read_answer


def test_plan_hooks_invalidate(prov: Prov, tmp_path: Path) -> None:
    hook = tmp_path / "again"
    hook.write_text('#!/bin/sh\ncat > seen.json\necho \'{"invalidate": ["a:go"]}\'\n')
    hook.chmod(0o755)
    write(
        tmp_path, one_task("echo 1 > out/x"), settings='sandbox = "none"\nplan_hooks = ["again"]\n'
    )
    prov("build", "a")
    assert "1 ran" in prov("build", "a").stdout
    assert read_answer((tmp_path / "seen.json").read_text())["steps"][0]["task"] == "a:go"
