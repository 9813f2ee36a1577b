"""Rows of history commands in a generated store of 100,000 runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.bench.measure import Command
from tests.bench.rows import PROV, Row
from tests.fsck.generated_store import make_store

RUNS = 100_000
QUESTIONS = (
    ("why", "part03:compile"),
    ("why", "image:image"),
    ("diff", "part03:install"),
    ("diff", "latest"),
    ("blame", "usr/bin/part03"),
    ("log", "part03"),
    ("log",),
    ("builds",),
)
DROP = Path("/proc/sys/vm/drop_caches")


def history_rows(data: Path) -> Sequence[Row]:
    store, small = data / "history", data / "history-small"
    for path, runs in ((store, RUNS), (small, 60)):
        if not path.is_dir():
            make_store(path.with_name("history.half"), runs=runs)
            path.with_name("history.half").rename(path)
    tables = store / "prov" / "tables.sqlite"
    query = (PROV, "--store", store, "query", "select count(*) from runs")
    return [
        Row(
            "history: first query",
            Command("prov query", query, prepare=lambda: tables.unlink(missing_ok=True)),
            seconds=10.0,
            rounds=3,
        ),
        Row("history: query", Command("prov query", query), seconds=0.5),
        *_question_rows(store),
    ]


def _question_rows(store: Path) -> list[Row]:
    return [
        Row(
            f"history: {' '.join(words)}",
            Command(f"prov {' '.join(words)}", (PROV, "--store", store, *words)),
            seconds=0.25,
        )
        for words in QUESTIONS
    ]
