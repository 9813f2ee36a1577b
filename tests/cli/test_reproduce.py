"""`prov reproduce`."""

from __future__ import annotations

import shutil

import pytest

from tests.cli.changes import CLOCK
from tests.cli.story import Project, in_order

pytestmark = pytest.mark.process


def test_what_holds_the_time_is_named_with_its_file_and_the_rest_is_the_same(
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
    assert [each["path"] for each in rows[-1]["output_differences"]] == [
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


def test_file_is_followed_to_the_task_that_made_it_another(small: Project) -> None:
    tasks = "[tasks.make]\nscript = 'date +%s%N > when; touch what'\n"
    small.task("cp what out/", more=f"after = ['make']\n{tasks}")
    small.append(
        "recipes/a.toml",
        "[tasks.use]\nafter = ['make']\noutputdir = 'out'\nscript = 'cp when out/'\n",
    )
    small.prov("build", "a", "a:use")
    rows = {row["task"]: row for row in small.json("reproduce", "a", code=1)["tasks"]}
    assert {
        task: [each["path"] for each in row["output_differences"]] for task, row in rows.items()
    } == {
        "a:make": [],
        "a:go": [],
        "a:use": ["out/when"],
    }
    # one that gives nothing to others is looked at where it worked, one that gives the same is not
    assert [
        [each["path"] for each in rows[task]["workdir_differences"]] for task in ("a:make", "a:go")
    ] == [
        ["when"],
        [],
    ]


def test_everything_in_the_demo_is_the_same_again(scene: Project) -> None:
    for recipe in ("words", "embed-native", "hello", "demo-image"):
        assert scene.ask("reproduce", recipe).endswith("repeated: identical\n")


def test_place_in_an_output_is_no_difference_in_another_directory(small: Project) -> None:
    small.task("echo $PWD > out/place", "place")
    small.task("echo $PN > out/name", "same")
    small.prov("build", "place", "same")
    for recipe in ("place", "same"):
        assert small.ask("reproduce", recipe) == "1 task repeated: identical\n"
        assert small.ask("rerun", f"{recipe}:go") == "1 task repeated: identical\n"
    assert small.leftovers() == []


def test_name_of_the_place_in_an_output_is_a_difference(small: Project) -> None:
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
def test_either_tasks_or_records_are_asked_for(small: Project, arguments: tuple[str, ...]) -> None:
    assert "pass either RECIPE[:TASK] or --recorded" in small.prov(*arguments, code=2).stderr
