"""What things are called: labels and pins, runs of a build, what is compared with, and stock git
beside it.
"""

from __future__ import annotations

import subprocess
from hashlib import sha1
from pathlib import Path

import pytest

from tests.cli.story import PROV, Project, in_order


def build(project: Project, *contents: str) -> None:
    """Build a task once for each content."""
    for content in contents:
        project.task(f"echo {content} > out/x")
        project.prov("build", "a")


def content(project: Project, name: str, folder: Path) -> str:
    project.prov("checkout", name, str(folder))
    return (folder / "out/x").read_text().strip()


@pytest.fixture
def two(small: Project) -> Project:
    build(small, "one", "two")
    return small


# labels and pins


def test_label_is_set_moved_listed_and_removed(two: Project) -> None:
    newest, first = two.git("log", "--format=%H", "builds").split()
    assert two.ask("label", "good") == f"good is build {newest[:12]}\n"
    assert (
        two.ask("label", "good", "latest~1")
        == f"good is build {first[:12]}, which was {newest[:12]}\n"
    )
    two.prov("label", "other")
    assert [line.split()[:2] for line in two.ask("label").splitlines()] == [
        ["good", first[:12]],
        ["other", newest[:12]],
    ]
    assert [row["labels"] for row in two.json("builds")["builds"]] == [["other"], ["good"]]
    assert two.ask("builds", "-n", "1").splitlines()[0].endswith("  other")
    two.prov("label", "--remove", "good")
    assert [line.split()[0] for line in two.ask("label").splitlines()] == ["other"]
    assert (
        two.git("for-each-ref", "--format=%(refname)", "refs/prov/label")
        == "refs/prov/label/other\n"
    )


@pytest.mark.parametrize(
    "name", ["latest", "builds", "a..b", ".a", "a.lock", "a.", "a b", "a/b", "-a", "a~1", "ä"]
)
def test_bad_label_is_refused_with_a_hint(two: Project, name: str) -> None:
    assert f"{name!r} can't be a label hint: " in two.refused("label", "--", name)
    assert two.ask("label") == ""


def test_unknown_labels_and_builds_are_refused(two: Project) -> None:
    two.prov("label", "good")
    assert "there is no label god hint: did you mean good?" in two.refused(
        "label", "--remove", "god"
    )
    assert "names no build hint: did you mean good?" in two.refused("label", "better", "god")
    assert "not so many builds before latest" in two.refused("pin", "latest~2")


def test_pin_is_set_shown_and_removed(two: Project) -> None:
    first = two.git("rev-parse", "builds~1").strip()
    assert two.ask("pin", "latest~1") == f"build {first[:12]} is kept for good\n"
    assert two.git("for-each-ref", "--format=%(objectname)", "refs/prov/pin").split() == [first]
    assert [row["pinned"] for row in two.json("builds")["builds"]] == [False, True]
    assert two.ask("builds").splitlines()[1].endswith("  pinned")
    for _ in range(2):  # also of one that is not pinned
        two.prov("pin", "--remove", "latest~1")
        assert two.git("for-each-ref", "refs/prov/pin") == ""


# names of runs and builds


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
        (("diff", "a:go@outputs"), "nothing is called @outputs hint: did you mean output?"),
        (
            ("diff", "latest~7/a:go"),
            "latest~7: there are not so many builds before latest hint: `prov builds`",
        ),
        (("diff", "lates"), "lates names no build hint: did you mean latest?"),
        (("diff", "0123abcd"), "0123abcd names no build hint: `prov builds` lists them"),
        (
            ("checkout", "latest", "x"),
            "'latest' names nothing in the store hint: write [build/]recipe:task",
        ),
        (("checkout", "latest/a:og", "x"), "has no task a:og hint: did you mean a:go?"),
        (("why", "b:go"), "no build has a task b:go hint: did you mean a:go?"),
        (("why", "a:go", "--against", "god"), "god names no build hint: did you mean good?"),
        (("why", "a:go", "--against", "latest~7"), "not so many builds before latest"),
        (
            ("why", "a:go", "--against", "a:og"),
            "no run of a:og is recorded hint: did you mean a:go?",
        ),
        (("blame", "usr/bin/x"), "no output of the last build has usr/bin/x hint: name it exactly"),
        (("rerun", "a:og"), "no run of a:og is recorded hint: did you mean a:go?"),
        (("rerun", "latest~1"), "latest~1 is no run of a task hint: write recipe:task, or a tag"),
        (("shell", "a/go"), "a/go is no run of a task hint: did you mean a:go?"),
        (("reproduce", "b"), "no build of b is recorded hint: "),
        (("log", "a:og"), "no run of a:og is recorded hint: did you mean a:go?"),
    ],
)
def test_unknown_name_has_a_hint(two: Project, arguments: tuple[str, ...], message: str) -> None:
    two.prov("label", "good")
    assert message in two.refused(*arguments)


def test_ambiguous_id_of_a_build_is_refused_with_the_builds(two: Project) -> None:
    text = two.git("cat-file", "commit", "builds")
    commits: dict[str, bytes] = {}
    for number in range(100_000):
        data = f"{text}{number}\n".encode()
        begin = sha1(b"commit %d\0%s" % (len(data), data), usedforsecurity=False).hexdigest()[:4]
        if begin in commits:
            break
        commits[begin] = data
    for each in (data, commits[begin]):
        command = [
            "git",
            f"--git-dir={two.root}/.prov",
            "hash-object",
            "-w",
            "-t",
            "commit",
            "--stdin",
        ]
        subprocess.run(command, input=each, check=True, capture_output=True)
    said = two.refused("diff", begin)
    assert f"{begin} is the beginning of 2 builds hint: {begin}" in said


def test_log_has_the_newest_run_first_also_of_one_second(small: Project) -> None:
    tasks = "".join(f"[tasks.t{n}]\nafter = ['t{n + 1}']\nscript = 'true'\n" for n in range(3, 9))
    small.task("true", more=f"after = ['t3']\n{tasks}[tasks.t9]\nscript = 'true'\n")
    small.prov("build", "a")
    small.prov("build", "-f", "a:go", "a")
    runs = [(run["task"], run["number"]) for run in small.json("log", "a")["runs"]]
    assert runs == [("go", 2), ("go", 1), *((f"t{n}", 1) for n in range(3, 10))]
    assert [line.split()[4] for line in small.ask("log", "a", "-n", "3").splitlines()] == [
        "a:go",
        "a:go",
        "a:t3",
    ]


def test_run_of_a_build_is_shown_by_name_or_tag(two: Project) -> None:
    old, new = (two.json("show", name)["run"]["tag"] for name in ("latest~1/a:go", "a:go"))
    assert old != new
    assert two.ask("show", old) == two.ask("show", "latest~1/a:go")
    assert "is no run of a task hint: write recipe:task, or a tag" in two.refused("show", "b")


# against


def test_task_is_compared_with_a_label_a_tag_or_another_store(two: Project, tmp_path: Path) -> None:
    other = Project(tmp_path / "other")
    subprocess.run(["cp", "-a", two.root, other.root], check=True)
    build(other, "elsewhere")
    two.prov("label", "good", "latest~1")
    for against in ("good", "latest~1"):
        in_order(
            two.ask("why", "a:go", "--against", against),
            "a:go",
            "script",
            "-echo one > out/x",
            "+echo two > out/x",
        )
    for against in (str(other.root), f"{other.root}/.prov"):
        text = two.ask("why", "a:go", "--against", against)
        in_order(text, "-echo elsewhere > out/x", "+echo two > out/x")
        assert f"of {against}:" in text
    [cause] = two.json("why", "a:go", "--against", str(other.root))["causes"]
    assert [(each["kind"], each["name"]) for each in cause["changes"]] == [("script", "")]


def test_task_is_compared_with_a_run_s_tag(two: Project) -> None:
    tags = [run["tag"] for run in two.json("log", "a:go")["runs"]]
    for against in tags:
        changed = "-echo one > out/x" in two.ask("why", "a:go", "--against", against)
        assert changed == ("one" in two.git("show", f"{against}:out/x"))


def test_same_inputs_are_no_cause(two: Project) -> None:
    for against in ("latest", two.tag("a:go"), str(two.root)):
        answer = two.json("why", "a:go", "--against", against)
        assert answer["causes"] == []
        assert "its inputs are those of " in two.ask("why", "a:go", "--against", against)


def test_another_output_for_the_same_inputs_is_told_of_the_task_itself(small: Project) -> None:
    small.task("date +%s%N > out/x")
    small.prov("build", "a")
    small.prov("build", "-f", "a:go", "a")
    small.prov("build", "a")
    second, first = small.git("log", "--format=%h", "--abbrev=12", "builds~1").split()
    in_order(
        small.ask("why", "a:go"),
        f"a:go ran in build {second}",
        f"against build {first}:",
        "gave another output for the same inputs",
    )


def test_asking_changes_no_ref(two: Project) -> None:
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
        said = [two.ask(*command) for _ in range(2)]
        assert said[0] == said[1]
        assert two.refs() == before, command
    assert two.leftovers() == []


# stock git


def test_stock_git_tells_the_same(two: Project) -> None:
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


def test_worktree_of_git_holds_a_run_or_a_build(two: Project, tmp_path: Path) -> None:
    two.git("worktree", "add", "--quiet", "--detach", str(tmp_path / "run"), two.tag("a:go"))
    assert (tmp_path / "run/out/x").read_text() == "two\n"
    two.git("worktree", "add", "--quiet", "--detach", str(tmp_path / "build"), "builds")
    assert (tmp_path / "build/build").read_text().startswith("targets a:go\nresult ok\n")
    two.prov("build", "a")
    for name in ("run", "build"):
        two.git("worktree", "remove", str(tmp_path / name))
