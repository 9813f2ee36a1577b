"""`prov buildpaths`."""

from __future__ import annotations

from pathlib import Path

from tests.cli.sysroots import run
from tests.schema.check import read_answer


def test_text_files_are_listed_with_their_places(outputs: Path) -> None:
    lines = run("buildpaths", "text", cwd=outputs).stdout.splitlines()
    assert lines == [
        "text:install  image/usr/share/text  text, SYSROOT, WORKDIR",
        "text:populate_sysroot  sysroot-destdir/usr/share/text  text, SYSROOT, WORKDIR",
        "2 files with build paths; 0 not relocatable",
    ]


def test_not_relocatable_file_fails(outputs: Path) -> None:
    lines = run("buildpaths", "held", cwd=outputs, code=1).stdout.splitlines()
    assert lines == [
        "held:install  image/usr/share/data  not relocatable",
        "held:populate_sysroot  sysroot-destdir/usr/share/data  not relocatable",
        "2 files with build paths; 2 not relocatable",
    ]


def test_json_has_a_schema(outputs: Path) -> None:
    answer = read_answer(run("buildpaths", "text", "--json", cwd=outputs).stdout)
    assert (answer["schema"], answer["kind"]) == (1, "buildpaths")
    assert answer["files"][0] == {
        "task": "text:install",
        "path": "image/usr/share/text",
        "kind": "text",
        "places": ["SYSROOT", "WORKDIR"],
    }
    files = read_answer(run("buildpaths", "held", "--json", cwd=outputs, code=1).stdout)["files"]
    assert ("held:install", "held") in [(row["task"], row["kind"]) for row in files]


def test_output_without_build_paths_succeeds(outputs: Path) -> None:
    lines = run("buildpaths", "left", cwd=outputs).stdout.splitlines()
    assert lines == ["0 files with build paths; 0 not relocatable"]


def test_unknown_recipe_has_a_hint(outputs: Path) -> None:
    done = run("buildpaths", "lef", cwd=outputs, code=1)
    assert "no build of lef is recorded" in done.stderr
    assert "did you mean left" in done.stderr
