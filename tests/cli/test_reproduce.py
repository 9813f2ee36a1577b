"""`prov reproduce`."""

from __future__ import annotations

import shutil

import pytest

from tests.cli.changes import CLOCK
from tests.cli.story import Project, in_order

pytestmark = pytest.mark.process


def test_output_with_the_time_differs_and_the_others_are_identical(
    scene: Project,
) -> None:
    scene.append("recipes/greet/greet.toml", CLOCK)
    scene.prov("build", "demo-image")
    before = scene.refs()
    file = "M image/usr/include/greet_when.h"
    done = scene.prov("reproduce", "greet", code=1)
    in_order(
        done.stdout,
        "greet:install: output differs:",
        file,
        "9 tasks repeated: different: greet:install",
    )
    progress = dict(
        line.rsplit(": ", 1) for line in done.stderr.splitlines() if line.startswith("greet:")
    )
    assert [key for key, what in progress.items() if what != "identical"] == ["greet:install"]
    rows = scene.json("reproduce", "greet:install", code=1)["tasks"]
    assert {row["task"]: row["same"] for row in rows} == {
        "greet:unpack": True,
        "greet:patch": True,
        "greet:configure": True,
        "greet:compile": True,
        "greet:install": False,
    }
    assert [row["path"] for row in rows[-1]["output_differences"]] == [
        "image/usr/include/greet_when.h"
    ]
    in_order(
        scene.ask("rerun", "greet:install", code=1),
        file,
        "1 task repeated: different: greet:install",
    )
    assert scene.ask("rerun", "greet:compile") == "1 task repeated: identical\n"
    assert scene.json("rerun", "greet:package")["tasks"][0]["same"]
    assert scene.refs() == before


def test_differing_file_is_traced_to_the_task_that_wrote_it(small: Project) -> None:
    tasks = "[tasks.make]\nscript = 'date +%s%N > when; touch what'\n"
    small.task("cp what out/", more=f"after = ['make']\n{tasks}")
    small.append(
        "recipes/a.toml",
        "[tasks.use]\nafter = ['make']\noutputdir = 'out'\nscript = 'cp when out/'\n",
    )
    small.prov("build", "a", "a:use")
    rows = {row["task"]: row for row in small.json("reproduce", "a", code=1)["tasks"]}
    assert {
        task: [file["path"] for file in row["output_differences"]] for task, row in rows.items()
    } == {
        "a:make": [],
        "a:go": [],
        "a:use": ["out/when"],
    }
    # the WORKDIR is compared only for tasks without an output
    assert [
        [file["path"] for file in rows[task]["workdir_differences"]] for task in ("a:make", "a:go")
    ] == [
        ["when"],
        [],
    ]


def test_demo_is_reproducible(scene: Project) -> None:
    for recipe in ("words", "embed-native", "hello", "demo-image"):
        assert scene.ask("reproduce", recipe).endswith("repeated: identical\n")


def test_build_path_in_an_output_is_not_a_difference(small: Project) -> None:
    small.task("echo $PWD > out/place", "place")
    small.task("echo $PN > out/name", "same")
    small.prov("build", "place", "same")
    for recipe in ("place", "same"):
        assert small.ask("reproduce", recipe) == "1 task repeated: identical\n"
        assert small.ask("rerun", f"{recipe}:go") == "1 task repeated: identical\n"
    assert small.leftovers() == []


def test_directory_name_in_an_output_is_a_difference(small: Project) -> None:
    small.task(
        'cd ..; echo "${PWD##*/}" > "$WORKDIR/out/name"; cd "$WORKDIR"; echo "${PWD##*/}" >>'
        " out/name",
        "place",
    )
    small.prov("build", "place")
    in_order(small.ask("reproduce", "place", code=1), "place:go: output differs:", "M out/name")
    assert small.leftovers() == []


def test_demo_built_without_a_sandbox_is_reproduced_without_one(scene: Project) -> None:
    shutil.rmtree(scene.root / "build")
    scene.edit("recipes/words/words/words.c", '"hi"', '"hey"')
    scene.prov("build", "--sandbox", "none", "demo-image")
    assert scene.ask("reproduce", "--sandbox", "none", "words").endswith("repeated: identical\n")
    assert (
        scene.ask("rerun", "--sandbox", "none", "words:compile") == "1 task repeated: identical\n"
    )
    place = scene.ask("shell", "--sandbox", "none", "words:compile", "--", "pwd").strip()
    if shutil.which("bwrap"):
        assert place == f"{scene.root}/build/work/x86_64/words/unpack"


def test_a_task_with_two_outputs_is_listed(small: Project) -> None:
    small.task("date +%s%N > out/x")
    small.prov("build", "a")
    answer = "no task is recorded with different outputs from identical inputs\n"
    assert small.ask("reproduce", "--recorded") == answer
    small.prov("build", "-f", "a:go", "a")
    head, *lines = small.ask("reproduce", "--recorded", code=1).splitlines()
    assert head.startswith("a:go ") and head.endswith(": 2 outputs")
    assert lines[-1].strip() == "M out/x"
    [row] = small.json("reproduce", "--recorded", code=1)["tasks"]
    assert (row["task"], len(row["outputs"]), len(row["diff"])) == ("a:go", 2, 1)


@pytest.mark.parametrize("arguments", [("reproduce",), ("reproduce", "a", "--recorded")])
def test_either_a_task_or_recorded_is_required(small: Project, arguments: tuple[str, ...]) -> None:
    assert "pass either RECIPE[:TASK] or --recorded" in small.prov(*arguments, code=2).stderr
