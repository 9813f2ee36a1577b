"""`prov query`."""

from __future__ import annotations

import csv
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.story import Project

pytestmark = pytest.mark.process

RUNS = "select recipe, task, failed from runs order by tag"


@pytest.fixture
def built(small: Project) -> Project:
    small.task("echo 1 > out/x")
    small.prov("build", "a")
    return small


def test_text_has_a_header_and_aligned_columns(built: Project) -> None:
    assert built.ask("query", RUNS) == "recipe  task  failed\na       a:go  0\n"


def test_json_has_an_object_for_each_row(built: Project) -> None:
    answer = built.json("query", "select task, null as n, x'ff' as b, 9e999 as f from runs")
    assert answer["columns"] == ["task", "n", "b", "f"]
    assert answer["rows"] == [{"task": "a:go", "n": None, "b": "ff", "f": "inf"}]
    assert "two columns" in built.refused("query", "select task, task from runs", "--json")


def test_csv_can_be_read_back(built: Project) -> None:
    text = built.ask("query", "--csv", "select 'a,\"b\nc' as x, null as y, task from runs")
    assert list(csv.reader(text.splitlines(keepends=True))) == [
        ["x", "y", "task"],
        ['a,"b\nc', "", "a:go"],
    ]


def test_control_characters_are_escaped(built: Project) -> None:
    assert built.ask("query", "select char(27) || '[31m' as x") == "x\n\\x1b[31m\n"


def test_without_a_query_the_tables_are_listed(built: Project) -> None:
    lines = built.ask("query").splitlines()
    assert [line.split()[0] for line in lines] == [
        *("table", "builds", "edges", "files", "inputs", "labels", "outcomes", "outputs"),
        *("read_lists", "reads", "runs"),
    ]


def test_a_new_build_is_in_the_next_answer(built: Project) -> None:
    assert built.ask("query", "--csv", "select count(*) from builds") == "count(*)\n1\n"
    built.task("echo 2 > out/x")
    built.prov("build", "a")
    assert built.ask("query", "--csv", "select count(*), max(build) from builds").endswith("2,2\n")
    outcomes = "select builds.build, tag from outcomes join builds using (build)"
    outcomes += " join runs using (task, task_hash, number) order by 1"
    rows = built.json("query", outcomes)["rows"]
    assert [row["build"] for row in rows] == [1, 2]
    assert rows[1]["tag"] == built.tag("a:go")


def test_a_forgotten_run_is_not_in_the_file(built: Project) -> None:
    built.write("prov.toml", (built.root / "prov.toml").read_text() + 'SECRET = "mellon"\n')
    built.task("echo $SECRET > out/x")
    built.prov("build", "a")
    built.ask("query", "select * from inputs")
    file = Path(built.ask("query", "--path").strip())
    assert b"mellon" in file.read_bytes()
    built.prov("forget", "--containing", "mellon", "--yes", code=None)
    assert not file.exists() or b"mellon" not in file.read_bytes()


def test_a_repair_makes_the_tables_again(built: Project) -> None:
    file = Path(built.ask("query", "--path").strip())
    built.git(
        "update-ref", "refs/tags/a/go/" + "0" * 40 + "/1", built.git("rev-parse", "builds").strip()
    )
    built.prov("fsck", "--repair")
    assert not file.exists()
    assert built.ask("query", "--csv", "select count(*) from runs") == "count(*)\n1\n"


def test_a_collected_run_has_its_record(built: Project) -> None:
    built.task("echo 2 > out/x")
    built.prov("build", "a")
    built.prov("gc", "--builds", "2", "--days", "0", "--workdirs", "0")
    rows = built.json("query", "select tag, workdir_commit from runs")["rows"]
    assert {row["tag"].split("/")[0]: bool(row["workdir_commit"]) for row in rows} == {
        "a": True,
        "record": False,
    }


def test_other_programs_can_open_the_file(built: Project) -> None:
    file = built.ask("query", "--path").strip()
    assert file == str(built.root / ".prov/prov/tables.sqlite")
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
        assert database.execute(RUNS).fetchall() == [("a", "a:go", 0)]


def test_wrong_usage(built: Project) -> None:
    built.prov("query", "select 1", "--path", code=2)
    built.prov("query", "select 1", "--csv", "--json", code=2)
    assert "queries can only read" in built.refused("query", "drop table runs")
    assert "no store" in Project(built.root.parent).refused("query", "select 1")
