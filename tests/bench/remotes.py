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
    remote, project = data / "remote.git", data / "contact"
    (empty(project) / "recipes").mkdir()
    (project / "prov.toml").write_text('sandbox = "none"\n[variables]\nHOSTTOOLS = "sh"\n')
    (project / "recipes" / "a.toml").write_text(
        'version = "1"\nbuild = ["make"]\n[tasks.make]\noutputdir = "a"\nscript = "echo 1 > a/b"\n'
    )
    if not remote.is_dir():
        half = empty(data / "remote.half")
        make_bare(half)
        append_publications(half, 1, CACHED // IN_ONE, IN_ONE)
        # this publication adds the lookup table of all earlier ones
        _prov(project, "init")
        _prov(project, "remote", "add", "team", str(half), "--trust", "none")
        _prov(project, "build", "a")
        _prov(project, "push", "--remote", "team")
        half.rename(remote)

    def forget() -> None:
        remove(project / ".prov", project / "build")
        _prov(project, "init")
        _prov(project, "remote", "add", "team", str(remote), "--trust", "none")

    command = Command("prov plan", (PROV, "plan", "a"), cwd=project, prepare=forget)
    again = Command("prov plan", (PROV, "plan", "a"), cwd=project)
    return [
        Row("remote: first contact, 1,000,000 tasks", command, seconds=3.0, rounds=3),
        Row("remote: later contact, 1,000,000 tasks", again, seconds=0.3),
    ]


def _prov(project: Path, *words: str) -> None:
    subprocess.run([PROV, *words], cwd=project, check=True, capture_output=True)
