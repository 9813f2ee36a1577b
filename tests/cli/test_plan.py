"""`prov plan`."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.projects import Prov, one_task, write


def test_plan_hooks_invalidate(prov: Prov, tmp_path: Path) -> None:
    hook = tmp_path / "again"
    hook.write_text('#!/bin/sh\ncat > seen.json\necho \'{"invalidate": ["a:go"]}\'\n')
    hook.chmod(0o755)
    write(
        tmp_path, one_task("echo 1 > out/x"), settings='sandbox = "none"\nplan_hooks = ["again"]\n'
    )
    prov("build", "a")
    assert "1 ran" in prov("build", "a").stdout
    assert json.loads((tmp_path / "seen.json").read_text())["steps"][0]["task"] == "a:go"
