"""Tests of the inputs of steps."""

from __future__ import annotations

from pathlib import Path

import pytest

from prov.buildroot.inputs import installed_by, left_by, package_options, step_inputs
from prov.records.ids import OutputId
from prov.records.keys import TaskKey
from prov.records.run import empty_start
from prov.store.repository import Store
from prov.wrapped.run import capture_as
from prov.wrapped.step import CommandRun, CommandStep

CONFIG = """\
#
# Buildroot 2026.08 Configuration
#
BR2_HAVE_DOT_CONFIG=y
BR2_EXTERNAL_SELF_VERSION="-gabc-dirty"
BR2_ARCH="arm"
# BR2_OPTIMIZE_3 is not set
BR2_JLEVEL=4
BR2_PACKAGE_ZLIB=y
BR2_PACKAGE_ZLIB_NG=y
BR2_PACKAGE_LIBZLIB=y
BR2_PACKAGE_HOST_M4=y
BR2_PACKAGE_M4=y
# BR2_PACKAGE_LUA is not set
"""
GLOBAL = ["BR2_HAVE_DOT_CONFIG=y", 'BR2_ARCH="arm"']


@pytest.mark.parametrize(
    ("package", "own"),
    [
        ("zlib", ["BR2_PACKAGE_ZLIB=y", "BR2_PACKAGE_ZLIB_NG=y"]),
        ("zlib-ng", ["BR2_PACKAGE_ZLIB_NG=y"]),
        ("host-zlib", ["BR2_PACKAGE_ZLIB=y", "BR2_PACKAGE_ZLIB_NG=y"]),
        ("host-m4", ["BR2_PACKAGE_HOST_M4=y", "BR2_PACKAGE_M4=y"]),
        ("lua", []),
        ("gtk+", []),
    ],
)
def test_options_of_other_packages_are_left_out(package: str, own: list[str]) -> None:
    assert package_options(CONFIG, package).splitlines() == [*GLOBAL, *own]


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """The folder of a package's makefile."""
    folder = tmp_path / "package/zlib"
    (folder / "1.3").mkdir(parents=True)
    (folder / "1.2").mkdir()
    (folder / "zlib.mk").write_text("ZLIB_VERSION = 1.3\n")
    (folder / "0001-all.patch").write_text("all\n")
    (folder / "1.3/0002-new.patch").write_text("new\n")
    (folder / "1.2/0002-old.patch").write_text("old\n")
    return folder


def test_the_files_of_a_package_are_inputs(package: Path, tmp_path: Path) -> None:
    (tmp_path / ".config").write_text(CONFIG)
    build = step_inputs(TaskKey("zlib:build"), package, "1.3", tmp_path / ".config")
    assert build["sources"] == {"zlib.mk": b"ZLIB_VERSION = 1.3\n"}
    assert build["config"] == package_options(CONFIG, "zlib").encode()
    assert set(build) == {"config", "sources"}
    patch = step_inputs(TaskKey("zlib:patch"), package, "1.3", tmp_path / ".config")
    assert patch["patches"] == {"0001-all.patch": b"all\n", "0002-new.patch": b"new\n"}


def test_missing_files_are_no_inputs(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    assert step_inputs(TaskKey("zlib:patch"), nowhere, "", nowhere) == {"config": b""}


def capture(store: Store, folder: Path, name: str, *outputs: str, build: str = "") -> CommandRun:
    """Record a directory."""
    return capture_as(store, folder, CommandStep.parse(name, build=build, outputs=outputs))


@pytest.mark.process
def test_the_newest_outputs_of_install_steps_are_found(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "build"
    (folder / "host").mkdir(parents=True)
    assert installed_by(store, "one", ["zlib"]) == {}
    outputs = {}
    for build, text in (("one", "1\n"), ("two", "2\n")):
        (folder / "host/zlib.h").write_text(text)
        run = capture(store, folder, "zlib:install-staging", "host", build=build)
        outputs[build] = OutputId(store.objects.commit(run.commit).tree)
        capture(store, folder, "zlib:build", build=build)
    first, second = (installed_by(store, build, ["zlib", "lua"]) for build in ("one", "two"))
    assert first.keys() == second.keys() == {"zlib:install-staging"}
    assert first != second
    assert installed_by(store, "a new build", ["zlib"]) == second


@pytest.mark.process
def test_a_directory_was_left_by_its_last_successful_run(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "build"
    folder.mkdir()
    with store.objects.writer() as writer:
        assert left_by(store, empty_start(writer).commit) is None
    (folder / "a").write_text("1\n")
    run = capture(store, folder, "zlib:configure", build="one")
    source = left_by(store, run.commit)
    assert source is not None
    assert source.key == "zlib:configure"
