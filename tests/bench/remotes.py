"""Rows of the first contact with a remote of 1,000,000 cached tasks, and of later ones."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from prov.store.git import make_bare
from tests.bench.data import empty, remove
from tests.bench.measure import Command
from tests.bench.rows import PROV, Row
from tests.bench.sharing import CACHED, IN_ONE, append_publications


def remote_rows(data: Path) -> Sequence[Row]:
    remote = data / "remote.git"
    if not remote.is_dir():
        half = empty(data / "remote.half")
        make_bare(half)
        append_publications(half, 1, CACHED // IN_ONE, IN_ONE)
        half.rename(remote)
    project = empty(data / "contact")
    (project / "recipes").mkdir()
    (project / "prov.toml").write_text('sandbox = "none"\n[variables]\nHOSTTOOLS = "sh"\n')
    (project / "recipes" / "a.toml").write_text(
        'version = "1"\nbuild = ["make"]\n[tasks.make]\nscript = "true"\n'
    )

    def forget() -> None:
        remove(project / ".prov")
        for words in (("init",), ("remote", "add", "team", str(remote), "--trust", "none")):
            subprocess.run([PROV, *words], cwd=project, check=True, capture_output=True)

    command = Command("prov plan", (PROV, "plan", "world"), cwd=project, prepare=forget)
    again = Command("prov plan", (PROV, "plan", "world"), cwd=project)
    return [
        Row("remote: first contact, 1,000,000 tasks", command, seconds=3.0, rounds=2),
        Row("remote: later contact, 1,000,000 tasks", again, seconds=0.3),
    ]
