"""`prov log`."""

from __future__ import annotations

import pytest

from tests.cli.story import Project

pytestmark = pytest.mark.process


def test_log_has_the_newest_run_first_even_within_a_second(small: Project) -> None:
    tasks = "".join(f"[tasks.t{n}]\nafter = ['t{n + 1}']\nscript = 'true'\n" for n in range(3, 9))
    small.task("true", more=f"after = ['t3']\n{tasks}[tasks.t9]\nscript = 'true'\n")
    small.prov("build", "a")
    small.prov("build", "-f", "a:go", "a")
    runs = [(run["task"], run["number"]) for run in small.json("log", "a")["runs"]]
    assert runs == [("a:go", 2), ("a:go", 1), *((f"a:t{n}", 1) for n in range(3, 10))]
    assert [line.split()[4] for line in small.ask("log", "a", "-n", "3").splitlines()] == [
        "a:go",
        "a:go",
        "a:t3",
    ]


def test_each_run_is_printed_in_the_requested_format(two: Project) -> None:
    commits = two.ask("log", "a:go", "--format", "%(commit) %(task)").splitlines()
    assert commits == [f"{row['commit']} a:go" for row in two.json("log", "a:go")["runs"]]
    assert "unknown field %(nonsense)" in two.prov("log", "--format", "%(nonsense)", code=2).stderr


def test_the_graph_shows_which_run_continued_which(small: Project) -> None:
    small.task("true", more="after = ['first']\n[tasks.first]\nscript = 'touch out.txt'\n")
    small.prov("build", "a")
    go, first = small.ask("log", "a", "--graph").splitlines()[:2]
    assert go.startswith("* ") and "  a:go  a/go/" in go
    assert first.startswith("* ") and "  a:first  a/first/" in first
    lines = small.ask("log", "a", "--graph", "--format", "%(task)").splitlines()
    assert lines == ["* a:go", "* a:first"]


def test_the_graph_has_manual_edits_between_runs(small: Project) -> None:
    small.task("true", more="after = ['first']\n[tasks.first]\nscript = 'touch f.txt'\n")
    small.prov("build", "a:first")
    [file] = small.root.glob("build/work/*/a/*/f.txt")
    file.write_text("edited")
    small.prov("build", "--incremental", "a")
    lines = small.ask("log", "a", "--graph", "--format", "%(task)").splitlines()
    assert (lines[0], lines[-1], len(lines)) == ("* a:go", "* a:first", 3)


def test_an_empty_store_has_a_note(small: Project) -> None:
    small.prov("init")
    assert small.prov("log").stderr == "note: no runs are recorded in this store\n"
    assert small.prov("builds").stderr == "note: no builds are recorded in this store\n"
