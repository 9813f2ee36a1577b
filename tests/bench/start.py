"""Rows of commands that do almost nothing: the start of Python and of prov."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from tests.bench.measure import Command
from tests.bench.rows import PROV, Row


def start_rows(_data: Path) -> Sequence[Row]:
    library = Command("python -c 'import pygit2'", (sys.executable, "-c", "import pygit2"))
    return [
        Row(
            "start: prov --version",
            Command("prov --version", (PROV, "--version")),
            (library,),
            at_most=1.5,
            rounds=15,
        ),
        Row("start: prov --help", Command("prov --help", (PROV, "--help")), (library,), rounds=15),
    ]
