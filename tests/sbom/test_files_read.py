"""The files that a task read lead to their origins, or the gap is stated."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from prov.sbom.files_read import NO_LIST, NO_WORKDIR, FilesReader
from prov.sbom.origins import Origins
from tests.cli.sysroots import sandbox
from tests.history.tiny import Tiny
from tests.sbom.project import TEXTS, forget_workdir, graph_of, run_of

USER = """
version = '1'
build = ['go']
[tasks.go]
needs = ['lib:stage']
outputdir = 'out'
script = 'cat "$RECIPE_SYSROOT"/usr/[al]* > out/both'
"""
POSTINST = """
mkdir -p image/usr/bin
script='#!/bin/sh\\nset -e\\necho made > "$RECIPE_SYSROOT/usr/again"\\n'
printf "$script" > image/usr/bin/postinst-again
chmod +x image/usr/bin/postinst-again
: > image/usr/empty"""
DATA = ("lib:fetch", b"sources/folder/a")


def reader_of(tiny: Tiny) -> FilesReader:
    graph = graph_of(tiny)
    return FilesReader(graph, Origins(graph))


def read_by(tiny: Tiny, key: str) -> tuple[list[tuple[str, bytes]], str]:
    """Return the task and the path of each file that a task read, and the problem."""
    reader = reader_of(tiny)
    listed = reader.of_task(run_of(reader.graph, key))
    return [(origin.task.key, origin.path) for origin in listed.origins], listed.problem


@pytest.fixture(scope="module")
def sandboxed(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    if sandbox() != "bwrap":
        pytest.skip("bwrap is not installed, or does not work")
    tiny = Tiny(tmp_path_factory.mktemp("sandboxed"), sandbox="bwrap")
    tiny.build({**TEXTS, "user.toml": USER}, "user")
    return tiny


def test_an_incomplete_list_is_stated(tiny: Tiny) -> None:
    assert read_by(tiny, "lib:make") == ([], "incomplete: no sandbox")


def test_a_missing_list_is_stated(tiny: Tiny) -> None:
    reader = reader_of(tiny)
    run = run_of(reader.graph, "lib:make")
    missing = reader.graph.run(run.id._replace(task_hash=run.id.task_hash[::-1]))  # type: ignore[arg-type]
    assert reader.of_task(missing).problem == NO_LIST


@pytest.mark.process
def test_reads_in_the_workdir_and_in_sysroots_lead_to_origins(sandboxed: Tiny) -> None:
    assert read_by(sandboxed, "lib:make") == ([DATA, ("lib:patch", b"lib.c")], "")
    assert read_by(sandboxed, "user:go") == ([DATA, ("lib:make", b"made")], "")


@pytest.mark.process
def test_a_file_that_a_script_made_in_a_sysroot_is_stated(sandboxed: Tiny, tmp_path: Path) -> None:
    tiny = Tiny(tmp_path, sandbox="bwrap")
    lib = TEXTS["lib.toml"].replace("\n: > image/usr/empty", POSTINST)
    lib = lib.replace("outputdir = 'image'\n", "outputdir = 'image'\nhosttools = ['chmod']\n")
    tiny.build({**TEXTS, "lib.toml": lib, "user.toml": USER}, "user")
    files, problem = read_by(tiny, "user:go")
    assert files == [DATA, ("lib:make", b"made")]
    assert problem == "incomplete: /build/sysroot/usr/again is in no recorded output"


@pytest.mark.process
def test_a_direct_package_is_found(sandboxed: Tiny, tmp_path: Path) -> None:
    tiny = Tiny(tmp_path, sandbox="bwrap")
    lib = f"direct = true\n{TEXTS['lib.toml']}"
    user = USER.replace('"$RECIPE_SYSROOT"/usr/[al]*', "/build/direct/lib/usr/a")
    tiny.build({**TEXTS, "lib.toml": lib, "user.toml": user}, "user")
    assert read_by(tiny, "user:go") == ([DATA], "")


@pytest.mark.process
def test_reads_of_a_deleted_workdir_are_incomplete(sandboxed: Tiny, tmp_path: Path) -> None:
    shutil.copytree(sandboxed.root, tmp_path / "copy", symlinks=True)
    tiny = Tiny(tmp_path / "copy", sandbox="bwrap")
    forget_workdir(tiny, run_of(graph_of(tiny), "lib:make"))
    assert read_by(tiny, "lib:make")[1] == NO_WORKDIR
