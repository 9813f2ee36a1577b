"""Names of runs and builds in every command and in stock git."""

from __future__ import annotations

import subprocess
from hashlib import sha1
from pathlib import Path

import pytest

from tests.cli.contents import build, content
from tests.cli.story import Project, in_order
from tests.commands import PROV

pytestmark = pytest.mark.process


def test_run_is_named_by_any_name_of_its_build(two: Project, tmp_path: Path) -> None:
    two.prov("label", "good", "latest~1")
    first = two.git("rev-parse", "builds~1").strip()
    names = ["latest~1", "latest^", "good", first, first[:7], "builds~1", "prov/label/good"]
    for number, name in enumerate(names):
        assert content(two, f"{name}/a:go@output", tmp_path / str(number)) == "one"
    assert content(two, "latest/a:go@output", tmp_path / "newest") == "two"
    assert content(two, "a:go", tmp_path / "workdir") == "two"
    assert two.ask("diff", "good~0/a:go@output/out", "a:go@output/out") == "M x\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("diff", "a:og"), "no run of a:og is recorded hint: did you mean a:go?"),
        (("diff", "a:go@outputs"), "unknown part @outputs hint: did you mean output?"),
        (
            ("diff", "latest~7/a:go"),
            "latest~7: fewer than 7 builds precede latest hint: run `prov builds`",
        ),
        (("diff", "lates"), "no build is named lates hint: did you mean latest?"),
        (("diff", "0123abcd"), "no build is named 0123abcd hint: run `prov builds` to list builds"),
        (
            ("checkout", "latest", "x"),
            "'latest' not found in the store hint: use [BUILD/]RECIPE:TASK",
        ),
        (("checkout", "latest/a:og", "x"), "has no task a:og hint: did you mean a:go?"),
        (("why", "b:go"), "no build has a task b:go hint: did you mean a:go?"),
        (("why", "a:go", "--against", "god"), "no build is named god hint: did you mean good?"),
        (("why", "a:go", "--against", "latest~7"), "builds precede latest"),
        (
            ("why", "a:go", "--against", "a:og"),
            "no run of a:og is recorded hint: did you mean a:go?",
        ),
        (
            ("blame", "usr/bin/x"),
            "usr/bin/x not found in any output of the last build hint: use a full name",
        ),
        (("rerun", "a:og"), "no run of a:og is recorded hint: did you mean a:go?"),
        (("rerun", "latest~1"), "latest~1 is not a run hint: write recipe:task, or a tag"),
        (("shell", "a/go"), "a/go is not a run hint: did you mean a:go?"),
        (("reproduce", "b"), "no build of b is recorded hint: "),
        (("log", "a:og"), "no run of a:og is recorded hint: did you mean a:go?"),
    ],
)
def test_unknown_name_has_a_hint(two: Project, arguments: tuple[str, ...], message: str) -> None:
    two.prov("label", "good")
    assert message in two.refused(*arguments)


def test_ambiguous_id_of_a_build_is_rejected_with_the_builds(two: Project) -> None:
    text = two.git("cat-file", "commit", "builds")
    commits: dict[str, bytes] = {}
    for number in range(100_000):
        data = f"{text}{number}\n".encode()
        begin = sha1(b"commit %d\0%s" % (len(data), data), usedforsecurity=False).hexdigest()[:4]
        if begin in commits:
            break
        commits[begin] = data
    for commit in (data, commits[begin]):
        command = [
            "git",
            f"--git-dir={two.root}/.prov",
            "hash-object",
            "-w",
            "-t",
            "commit",
            "--stdin",
        ]
        subprocess.run(command, input=commit, check=True, capture_output=True)
    error = two.refused("diff", begin)
    assert f"{begin} is ambiguous: 2 builds begin with it hint: use one of {begin}" in error


def test_queries_change_no_ref(two: Project) -> None:
    before = two.refs()
    tag = two.tag("a:go")
    for command in (
        ("why", "a:go"),
        ("why", "a:go", "--against", "latest~1"),
        ("why", tag),
        ("blame", "x"),
        ("blame", "--lines", "a:go@output/out/x"),
        ("diff", "latest"),
        ("diff", "a:go", "--patch"),
        ("log", "a:go"),
        ("log", "a:go@output/out/x"),
        ("builds",),
        ("label",),
        ("show", "a:go"),
        ("rerun", "a:go"),
        ("reproduce", "a"),
        ("shell", "a:go", "--", "true"),
    ):
        first, second = (two.ask(*command) for _ in range(2))
        assert first == second
        assert two.refs() == before, command
    assert two.leftovers() == []


def test_stock_git_shows_the_same(two: Project) -> None:
    two.prov("label", "good", "latest~1")
    new = two.tag("a:go")
    [old] = [run["tag"] for run in two.json("log", "a:go")["runs"] if run["tag"] != new]
    assert two.git("show", f"{new}^2:record").startswith("task a:go\n")
    assert two.git("show", f"{new}^2:log") == ""
    assert two.git("diff", "--name-status", f"{new}^", new) == "A\tout/x\n"
    in_order(two.git("diff", old, new), "-one", "+two")
    in_order(
        two.git("diff", f"{old}^2:inputs", f"{new}^2:inputs"),
        "-echo one > out/x",
        "+echo two > out/x",
    )
    history = two.git("log", "--first-parent", "--format=%s", "builds")
    assert history == "build of a:go: ok\n" * 2
    assert two.git("log", "--format=%H", "prov/label/good") == two.git("rev-parse", "builds~1")
    in_order(two.git("diff", "builds~1", "builds", "--", "tasks"), "diff --git a/tasks/a b/tasks/a")


def test_git_bisect_finds_the_build_that_broke(small: Project, tmp_path: Path) -> None:
    build(small, "good1", "good2", "good3", "bad4", "bad5", "bad6")
    broken = small.git("rev-parse", "builds~2").strip()
    small.prov("label", "fine", "latest~5")
    script = small.write(
        "check",
        f"#!/bin/sh\nrm -rf {tmp_path}/it\n"
        f"{PROV} checkout BISECT_HEAD/a:go@output {tmp_path}/it || exit 125\n"
        f"grep good {tmp_path}/it/out/x\n",
    )
    script.chmod(0o755)
    small.git("bisect", "start", "builds", "prov/label/fine")
    assert f"{broken} is the first bad commit" in small.git("bisect", "run", str(script))
    assert small.git("rev-parse", "refs/bisect/bad").strip() == broken
    small.git("bisect", "reset")
    assert small.prov("build", "a").stdout.startswith("nothing to do")


def test_git_worktree_checks_out_a_run_or_a_build(two: Project, tmp_path: Path) -> None:
    two.git("worktree", "add", "--quiet", "--detach", str(tmp_path / "run"), two.tag("a:go"))
    assert (tmp_path / "run/out/x").read_text() == "two\n"
    two.git("worktree", "add", "--quiet", "--detach", str(tmp_path / "build"), "builds")
    assert (tmp_path / "build/build").read_text().startswith("targets a:go\nresult ok\n")
    two.prov("build", "a")
    for name in ("run", "build"):
        two.git("worktree", "remove", str(tmp_path / name))
