"""Tests of a task's script: its variables, its environment and its folders."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prov.errors import BuildError, RecipeError
from prov.recipes.recipe import TEMP, TOOLCHAIN
from prov.recipes.variables import Reached
from prov.tasks.job import Job
from prov.tasks.script import (
    RPATH_LENGTH,
    ScriptResult,
    _environment,
    _make_folder,
    _real,
    _search_path,
    fresh_temp,
    log_path,
    postprocess_text,
    shell_script,
    task_values,
)
from prov.tasks.taskhash import OwnInputs
from tests.tasks.samples import job_of, node_of, own_of, paths_of

SEEN = "/build/work/x86_64/zlib/compile"


def job(*, sandboxed: bool = True, own: OwnInputs | None = None, **fields: Any) -> Job:
    """Return a job for a node with these fields."""
    return job_of(node_of(**fields), paths_of(sandboxed=sandboxed), own)


# outcomes


@pytest.mark.parametrize(
    ("code", "stray_write", "problem"),
    [
        (0, "", ""),
        (1, "", "exit status 1"),
        (127, "", "exit status 127"),
        (-9, "", "killed by SIGKILL"),
        (-15, "", "killed by SIGTERM"),
        (0, "its sysroot was changed", "its sysroot was changed"),
        (2, "its sysroot was changed", "its sysroot was changed"),
    ],
)
def test_what_is_wrong(code: int, stray_write: str, problem: str) -> None:
    assert ScriptResult(code, {}, 1.0, b"", stray_write=stray_write).problem == problem


# values


def test_places_of_a_task() -> None:
    values, directory = task_values(job())
    assert directory == SEEN
    rpath = values.pop("NATIVE_RPATH")
    assert values == {
        "WORKDIR": SEEN,
        "RECIPE_SYSROOT_NATIVE": "/build/sysroot-native",
        "RECIPE_SYSROOT": "/build/sysroot",
        "JOBS": "1",
        "TASK": "compile",
    }
    assert os.path.normpath(rpath) == "/build/sysroot-native/usr/lib"


def test_a_native_recipe_has_one_sysroot() -> None:
    values, _ = task_values(job(arch="native"))
    assert values["RECIPE_SYSROOT"] == values["RECIPE_SYSROOT_NATIVE"] == "/build/sysroot-native"


@pytest.mark.parametrize("workdir", ["/w", "/builds/" + "x" * 60])
def test_rpaths_have_one_length(workdir: str) -> None:
    values, _ = task_values(job_of(node_of(), paths_of(Path(workdir))))
    assert len(values["NATIVE_RPATH"]) == RPATH_LENGTH + len("usr/lib")


def test_a_longer_path_makes_a_longer_rpath() -> None:
    workdir = "/builds/" + "x" * 200
    values, _ = task_values(job_of(node_of(), paths_of(Path(workdir))))
    assert values["NATIVE_RPATH"] == f"{workdir}/recipe-sysroot-native/usr/lib"


def test_used_variables_are_expanded() -> None:
    variables = {"S": "${WORKDIR}/src", "CC": "gcc --sysroot=${RECIPE_SYSROOT}", "D": "x"}
    own = own_of(reached=("CC", "S"))
    values, directory = task_values(job(own=own, variables=variables, task={"dir": "${S}/build"}))
    assert values["S"] == f"{SEEN}/src"
    assert values["CC"] == "gcc --sysroot=/build/sysroot"
    assert "D" not in values
    assert directory == f"{SEEN}/src/build"


def test_a_recipe_does_not_override_a_place() -> None:
    values, _ = task_values(job(variables={"WORKDIR": "/etc", "JOBS": "99"}))
    assert (values["WORKDIR"], values["JOBS"]) == (SEEN, "1")


def test_an_unset_name_is_reported_with_its_task() -> None:
    with pytest.raises(RecipeError, match=r"zlib.toml: tasks.compile: \$\{S\} is not set"):
        task_values(job(task={"dir": "${S}"}))


# scripts


def test_a_run_script_defines_the_names_it_uses() -> None:
    node = node_of(
        "f\n",
        functions={"f": "make", "g": "false"},
        export=("CC", "LD"),
        task={"hosttools": (TOOLCHAIN,)},
    )
    own = OwnInputs((), Reached(("CC",), ("f",)))
    text = shell_script(node, own, {"CC": "gcc -O2", "S": "it's"})
    assert text.split("\n") == [
        "# zlib:compile",
        "set -eu",
        "CC='gcc -O2'",
        "S='it'\"'\"'s'",
        "export CC",
        "f() {",
        "make",
        "}",
        "f",
        "",
        "",
    ]


values = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


@pytest.mark.parametrize("value", ["", "a b", "$(false)", "'", '"', "\\", "a\nb", "*", "ü", "`x`"])
def test_values_are_passed_unchanged(value: str) -> None:
    node = node_of('printf %s "$A"\n')
    script = shell_script(node, OwnInputs((), Reached(("A",), ())), {"A": value})
    ended = subprocess.run(["sh"], input=script.encode(), capture_output=True, check=True)
    assert ended.stdout.decode() == value


@given(values)
def test_a_value_adds_no_command(value: str) -> None:
    node = node_of("true\n")
    script = shell_script(node, OwnInputs((), Reached(("A",), ())), {"A": value})
    assert script.endswith("\ntrue\n\n")
    assert script.startswith("# zlib:compile\nset -eu\nA=")


# environments


def test_the_environment_of_a_sandboxed_task() -> None:
    task = job()
    values, _ = task_values(task)
    folders = [f"/build/sysroot-native/{name}" for name in ("usr/bin", "usr/sbin", "bin", "sbin")]
    assert _environment(task, values) == {
        "PATH": ":".join([*folders, "/build/hosttools"]),
        "HOME": f"{SEEN}/{TEMP}/home",
        "TMPDIR": "/tmp",
        "RECIPE_SYSROOT": "/build/sysroot",
        "RECIPE_SYSROOT_NATIVE": "/build/sysroot-native",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "SHELL": "/bin/sh",
        "USER": "builder",
    }


def test_without_a_sandbox_temporary_files_stay_in_the_workdir() -> None:
    task = job(sandboxed=False)
    environment = _environment(task, task_values(task)[0])
    assert environment["TMPDIR"] == environment["HOME"] == f"/builds/zlib/{TEMP}/home"


def test_exports_are_for_tasks_that_use_the_toolchain() -> None:
    fields: dict[str, Any] = {"variables": {"CC": "gcc"}, "export": ("CC", "LD")}
    own = own_of(reached=("CC",))
    compiling = job(own=own, task={"hosttools": (TOOLCHAIN,)}, **fields)
    assert _environment(compiling, task_values(compiling)[0])["CC"] == "gcc"
    fetching = job(own=own, **fields)
    assert "CC" not in _environment(fetching, task_values(fetching)[0])


def test_the_caller_s_variables_override_nothing() -> None:
    task = job(own=own_of(environment={"TERM": "dumb", "PATH": "/evil", "HOME": "/root"}))
    environment = _environment(task, task_values(task)[0])
    assert environment["TERM"] == "dumb"
    assert environment["PATH"].endswith("/build/hosttools")
    assert environment["HOME"].startswith(SEEN)


def test_the_jobserver_is_passed_on() -> None:
    task = job_of(node_of(), paths_of(), makeflags="-j4 --jobserver-auth=3,4")
    environment = _environment(task, task_values(task)[0])
    assert environment["MAKEFLAGS"] == "-j4 --jobserver-auth=3,4"


def test_direct_packages_are_on_the_path_and_have_a_variable() -> None:
    task_paths = paths_of(sandboxed=True, direct=(("pseudo-native", Path("/store/pseudo")),))
    task = job_of(node_of(), task_paths)
    environment = _environment(task, task_values(task)[0])
    assert environment["DIRECT_PSEUDO_NATIVE"] == "/build/direct/pseudo-native"
    assert "/build/direct/pseudo-native/usr/bin" in environment["PATH"].split(":")
    assert _search_path(task_paths) == environment["PATH"]


# folders


@pytest.mark.parametrize(
    ("seen", "real"),
    [
        (SEEN, "/host/w"),
        (f"{SEEN}/", "/host/w"),
        (f"{SEEN}/a/b", "/host/w/a/b"),
        (f"{SEEN}//a", "/host/w/a"),
        (f"{SEEN}/..a", "/host/w/..a"),
    ],
)
def test_paths_that_a_task_sees(seen: str, real: str) -> None:
    assert _real(job(), seen, Path("/host/w")) == Path(real)


@pytest.mark.parametrize(
    "seen", ["/", "/etc", f"{SEEN}-other", f"{SEEN}/..", f"{SEEN}/a/../..", "a"]
)
def test_a_directory_outside_the_workdir_is_rejected(seen: str) -> None:
    with pytest.raises(BuildError, match=r"tasks\.compile\.dir: .* is outside WORKDIR"):
        _real(job(), seen, Path("/host/w"))


def test_folders_are_made(tmp_path: Path) -> None:
    _make_folder(tmp_path, "a/b/c", "zlib:compile")
    _make_folder(tmp_path, "a/b/c", "zlib:compile")
    assert (tmp_path / "a/b/c").is_dir()


def test_a_link_inside_the_workdir_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    _make_folder(tmp_path, "link/below", "zlib:compile")
    assert (tmp_path / "real/below").is_dir()


@pytest.mark.parametrize("target", ["/etc", "..", "../outside"])
def test_a_link_to_outside_is_rejected(tmp_path: Path, target: str) -> None:
    workdir = tmp_path / "work"
    workdir.mkdir()
    (tmp_path / "outside").mkdir()
    (workdir / "link").symlink_to(target)
    with pytest.raises(
        BuildError, match=r"zlib:compile: .* is a symlink to a path outside WORKDIR"
    ):
        _make_folder(workdir, "link/below", "zlib:compile")
    assert not (tmp_path / "outside/below").exists()


def test_temporary_files_before_a_task(tmp_path: Path) -> None:
    temp = tmp_path / TEMP
    temp.mkdir(mode=0o700)
    for name in ("log.unpack", "run.unpack", "log.compile", "run.compile", "run.compile.py", "x"):
        (temp / name).write_text(name)
    (temp / "home").mkdir()
    (temp / "home/.profile").write_text("evil")
    (temp / "log.link").symlink_to("/etc/passwd")
    fresh_temp(temp, "compile")
    assert sorted(os.listdir(temp)) == ["home", "log.unpack", "run.unpack"]
    assert os.listdir(temp / "home") == []
    assert temp.stat().st_mode & 0o777 == 0o755
    assert log_path(tmp_path, "unpack") == temp / "log.unpack"


@pytest.mark.parametrize("kind", ["file", "link", "nothing"])
def test_anything_in_place_of_temporary_files_is_replaced(tmp_path: Path, kind: str) -> None:
    outside, temp = tmp_path / "outside", tmp_path / TEMP
    outside.mkdir()
    (outside / "x").write_text("1")
    if kind == "file":
        temp.write_text("")
    elif kind == "link":
        temp.symlink_to(outside)
    fresh_temp(temp, "compile")
    assert temp.is_dir()
    assert not temp.is_symlink()
    assert os.listdir(outside) == ["x"]


# postprocess


def test_a_postprocess_script_is_expanded() -> None:
    recipe = node_of(variables={"NAME": "z"}).recipe
    text = postprocess_text(recipe, "ldconfig ${OUTPUT_DIR}/${NAME}\udcff\n", "zlib.toml")
    assert text == b"ldconfig ${OUTPUT_DIR}/z\xff\n"
    assert postprocess_text(recipe, "", "zlib.toml") == b""


def test_a_postprocess_script_cannot_use_task_paths(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"zlib.toml: \$\{WORKDIR\} is not set"):
        postprocess_text(node_of().recipe, "ls ${WORKDIR}\n", "zlib.toml")
