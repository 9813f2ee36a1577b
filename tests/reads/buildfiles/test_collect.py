"""Files of build tools in recorded WORKDIRs, as real tools write them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from prov.reads.buildfiles.collect import BuildFiles, Unit
from prov.store.repository import Store
from prov.worktree.snapshot import capture
from tests.history.recorded import write_files

WORKDIR = "/build/work/x86_64/app/compile"
SOURCES = {
    "main.c": '#include <stdio.h>\n#include "greet.h"\nint main(void) { return greet(); }\n',
    "greet.c": '#include "greet.h"\nint greet(void) { return 0; }\n',
    "include/greet.h": "int greet(void);\n",
}


def files(store: Store, texts: dict[str, str], workdir: str = WORKDIR) -> BuildFiles:
    with store.objects.writer() as writer:
        tree = write_files(writer, texts)
        writer.finish()
    return BuildFiles(store.objects, tree, workdir)


@pytest.mark.parametrize(
    ("texts", "unit"),
    [
        # the compiler ran in the folder above that of the file, as with automake
        (
            {".deps/main.Po": "main.o: main.c a.h\n", "main.o": "", "main.c": ""},
            Unit("main.o", ("main.c", "a.h"), ".deps/main.Po"),
        ),
        (
            {"b/src/.deps/main.Po": "src/main.o: ../src/main.c\n", "b/src/main.o": ""},
            Unit("b/src/main.o", ("src/main.c",), "b/src/.deps/main.Po"),
        ),
        # the made file was deleted
        (
            {"b/.deps/main.Po": "main.o: main.c\n", "b/main.c": ""},
            Unit("b/main.o", ("b/main.c",), "b/.deps/main.Po"),
        ),
        # absolute paths in the WORKDIR and elsewhere
        (
            {"b/main.d": f"main.o: {WORKDIR}/main.c /usr/include/stdio.h ../../../x.h\n"},
            Unit(
                "b/main.o", ("main.c", "/usr/include/stdio.h", "/build/work/x86_64/x.h"), "b/main.d"
            ),
        ),
        ({"b/x": "", "main.d": "b/x/y.o: b/x/y.c\n"}, Unit("b/x/y.o", ("b/x/y.c",), "main.d")),
    ],
)
def test_paths_are_relative_to_the_folder_of_the_compiler(
    store: Store, texts: dict[str, str], unit: Unit
) -> None:
    assert list(files(store, texts).units()) == [unit]


def test_paths_without_a_known_workdir(store: Store) -> None:
    texts = {"main.d": "main.o: main.c ../x.h /usr/include/stdio.h\n"}
    [unit] = files(store, texts, "").units()
    assert unit.read == ("main.c", "x.h", "/usr/include/stdio.h")


def test_only_files_with_matching_names_are_read(store: Store) -> None:
    texts = {"config.log.old": "configure:1: checking for a.h\nconfigure:1: result: no\n"}
    texts |= {"src/config.log": texts["config.log.old"], "main.dd": "main.o: main.c\n"}
    own = files(store, texts)
    assert [(each.file, each.lookup.name) for each in own.lookups()] == [("src/config.log", "a.h")]
    assert list(own.units()) == []


def run(*command: str, cwd: Path) -> None:
    subprocess.run(command, cwd=cwd, check=True, capture_output=True)


def built(store: Store, folder: Path) -> BuildFiles:
    with store.objects.writer() as writer:
        snapshot = capture(store, folder, writer)
        writer.finish()
    return BuildFiles(store.objects, snapshot.pair.tree, str(folder))


def write_sources(folder: Path) -> None:
    for name, text in SOURCES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def in_workdir(own: BuildFiles, name: str) -> set[str]:
    """Return the files in the WORKDIR that the unit of a source read."""
    [unit] = [unit for unit in own.units() if name in unit.read]
    return {path for path in unit.read if not path.startswith("/")}


@pytest.mark.process
def test_units_of_gcc(store: Store, tmp_path: Path) -> None:
    write_sources(tmp_path)
    (tmp_path / "out").mkdir()
    run("gcc", "-MMD", "-MP", "-I../include", "-c", "../main.c", cwd=tmp_path / "out")
    own = built(store, tmp_path)
    assert list(own.units()) == [Unit("out/main.o", ("main.c", "include/greet.h"), "out/main.d")]


CMAKE = """cmake_minimum_required(VERSION 3.16)
project(demo C)
find_package(NoSuchPackage CONFIG QUIET)
include_directories(include)
add_executable(demo main.c greet.c)
"""


@pytest.mark.process
@pytest.mark.parametrize("generator", ["Unix Makefiles", "Ninja"])
def test_lookups_and_units_of_cmake(store: Store, tmp_path: Path, generator: str) -> None:
    if not shutil.which("cmake") or (generator == "Ninja" and not shutil.which("ninja")):
        pytest.skip("CMake or Ninja is not installed")
    write_sources(tmp_path)
    (tmp_path / "CMakeLists.txt").write_text(CMAKE)
    run("cmake", "-B", "out", "-G", generator, ".", cwd=tmp_path)
    run("cmake", "--build", "out", cwd=tmp_path)
    own = built(store, tmp_path)
    missing = {each.lookup.name for each in own.lookups() if not each.lookup.is_found}
    assert "NoSuchPackage" in missing
    assert in_workdir(own, "main.c") == {"main.c", "include/greet.h"}


MESON = """project('demo', 'c')
meson.get_compiler('c').has_header('no-such-header.h')
executable('demo', 'main.c', 'greet.c', include_directories: 'include')
"""


@pytest.mark.process
def test_lookups_and_units_of_meson(store: Store, tmp_path: Path) -> None:
    if not shutil.which("meson") or not shutil.which("ninja"):
        pytest.skip("Meson or Ninja is not installed")
    write_sources(tmp_path)
    (tmp_path / "meson.build").write_text(MESON)
    run("meson", "setup", "out", cwd=tmp_path)
    run("ninja", "-C", "out", cwd=tmp_path)
    own = built(store, tmp_path)
    missing = {each.lookup.name for each in own.lookups() if not each.lookup.is_found}
    assert "no-such-header.h" in missing
    assert in_workdir(own, "greet.c") == {"greet.c", "include/greet.h"}
