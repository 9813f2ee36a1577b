"""`prov buildpaths`."""

from __future__ import annotations

from pathlib import Path

from tests.cli.sysroots import run
from tests.schema.check import read_answer


def test_check_lists_texts_with_their_places(outputs: Path) -> None:
    lines = run("buildpaths", "text", cwd=outputs).stdout.splitlines()
    assert lines == [
        "text:install  image/usr/share/text  text, SYSROOT, WORKDIR",
        "text:populate_sysroot  sysroot-destdir/usr/share/text  text, SYSROOT, WORKDIR",
        "2 files with build paths; 0 not relocatable",
    ]


def test_check_fails_for_what_can_not_be_used_elsewhere(outputs: Path) -> None:
    lines = run("buildpaths", "held", cwd=outputs, code=1).stdout.splitlines()
    assert lines == [
        "held:install  image/usr/share/data  not relocatable",
        (
            "held:populate_sysroot  sysroot-destdir/usr/share/data  holds a path that can't be"
            " replaced"
        ),
        "2 files with build paths; 2 not relocatable",
    ]


def test_check_json_has_a_schema(outputs: Path) -> None:
    told = read_answer(run("buildpaths", "text", "--json", cwd=outputs).stdout)
    assert (told["schema"], told["kind"]) == (1, "buildpaths")
    assert told["files"][0] == {
        "task": "text:install",
        "path": "image/usr/share/text",
        "kind": "text",
        "places": ["SYSROOT", "WORKDIR"],
    }
    files = read_answer(run("buildpaths", "held", "--json", cwd=outputs, code=1).stdout)["files"]
    assert ("held:install", "held") in [(row["task"], row["kind"]) for row in files]


def test_check_of_what_names_no_place_is_content(outputs: Path) -> None:
    lines = run("buildpaths", "left", cwd=outputs).stdout.splitlines()
    assert lines == ["0 files with build paths; 0 not relocatable"]


def test_check_of_what_is_unknown_has_a_hint(outputs: Path) -> None:
    done = run("buildpaths", "lef", cwd=outputs, code=1)
    assert "no build of lef is recorded" in done.stderr
    assert "did you mean left" in done.stderr
