"""The tables and their columns."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

from prov.query.schema import INDEXES, MANY, OWN, TABLES, absent, columns, run_script

PAGE = Path(__file__).parents[2] / "docs" / "query.md"


def test_columns_are_those_of_tables_for_queries() -> None:
    tables = columns()
    assert {"builds", "runs", "inputs", "edges", "outputs", "files", "reads"} <= tables.keys()
    assert tables.keys().isdisjoint(OWN)
    assert tables["labels"] == ["label", "build"]


def test_the_page_describes_every_column() -> None:
    described: dict[str, list[str]] = {}
    for section in re.split(r"^### ", PAGE.read_text(), flags=re.MULTILINE)[1:]:
        name = section.split("\n", 1)[0].strip("`")
        described[name] = re.findall(r"^\| `(\w+)` \|", section, flags=re.MULTILINE)
    assert described == columns()


def test_absent_ids_are_the_same_by_both_ways() -> None:
    database = sqlite3.connect(":memory:")
    run_script(database, TABLES + INDEXES)
    stored = [number.to_bytes(20) for number in range(0, 3 * MANY, 2)]
    database.executemany("insert into outputs (output) values (?)", ((o.hex(),) for o in stored))
    for count in (5, MANY + 5):
        wanted = [number.to_bytes(20) for number in range(count)]
        assert absent(database, "outputs", "output", wanted) == wanted[1::2]
