"""Tests of the lines in local.mk and of the script."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from prov.buildroot.setup import BLOCK, SCRIPT, Hook, check_build, overrides, remove, set_up
from prov.errors import BuildrootError
from tests.buildroot.replay import CONFIG

HOOK = Hook(Path("/usr/bin/python3"), Path("/srv/a store"))
TEXTS = {
    "nothing": b"",
    "one line": b"FOO_OVERRIDE_SRCDIR = /src/foo\n",
    "no newline at the end": b"FOO_OVERRIDE_SRCDIR = /src/foo",
    "windows": b"A = b\r\nC = d\r\n",
    "not UTF-8": b"A = \xff\xe9\n",
}


def test_setup_writes_local_mk_and_a_script(base: Path) -> None:
    assert set_up(base, HOOK) == [base / SCRIPT, base / "local.mk"]
    assert (base / "local.mk").read_text() == BLOCK
    assert os.access(base / SCRIPT, os.X_OK)
    command = "/usr/bin/python3 -P -m prov_cli.buildroot_step '/srv/a store' \"$@\" || exit 0\n"
    assert (base / SCRIPT).read_text().endswith(command)


def test_a_second_setup_changes_nothing(base: Path) -> None:
    set_up(base, HOOK)
    assert set_up(base, HOOK) == []


def test_a_setup_with_other_options_replaces_the_script(base: Path) -> None:
    set_up(base, HOOK)
    strict = Hook(HOOK.python, HOOK.store, strict=True)
    assert set_up(base, strict) == [base / SCRIPT]
    assert "exit 1" in (base / SCRIPT).read_text()


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_remove_restores_local_mk(base: Path, text: bytes) -> None:
    makefile = base / "local.mk"
    makefile.write_bytes(text)
    makefile.chmod(0o640)
    set_up(base, HOOK)
    assert makefile.read_bytes() == text + BLOCK.encode()
    assert remove(base) == [makefile, base / SCRIPT]
    assert (makefile.read_bytes() if makefile.exists() else b"") == text
    if text:
        assert makefile.stat().st_mode & 0o777 == 0o640
    assert remove(base) == []


def test_setup_follows_a_link_to_local_mk(base: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared.mk"
    shared.write_text("A = b\n")
    (base / "local.mk").symlink_to(shared)
    set_up(base, HOOK)
    assert shared.read_text() == f"A = b\n{BLOCK}"
    assert (base / "local.mk").is_symlink()


def test_a_private_umask_leaves_a_script_that_others_can_run(base: Path) -> None:
    before = os.umask(0o077)
    try:
        set_up(base, HOOK)
    finally:
        os.umask(before)
    assert (base / SCRIPT).stat().st_mode & 0o777 == 0o755
    assert (base / "local.mk").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ("$(CONFIG_DIR)/local.mk", "{base}/local.mk"),
        ("/etc/overrides.mk", "/etc/overrides.mk"),
        ("$(CONFIG_DIR)/../other.mk", "{base}/../other.mk"),
    ],
)
def test_the_override_file_is_that_of_the_configuration(base: Path, value: str, path: str) -> None:
    (base / ".config").write_text(f'{CONFIG}BR2_PACKAGE_OVERRIDE_FILE="{value}"\n')
    assert overrides(base) == Path(path.format(base=base))


@pytest.mark.parametrize("value", ["", "local.mk", "$(TOPDIR)/local.mk"])
def test_an_override_file_that_cannot_be_located_is_an_error(base: Path, value: str) -> None:
    (base / ".config").write_text(f'{CONFIG}BR2_PACKAGE_OVERRIDE_FILE="{value}"\n')
    with pytest.raises(BuildrootError, match="BR2_PACKAGE_OVERRIDE_FILE"):
        set_up(base, HOOK)
    assert not (base / SCRIPT).exists()


def test_a_folder_without_a_configuration_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BuildrootError, match="No such file or directory"):
        check_build(tmp_path)
    (tmp_path / ".config").write_text("CONFIG_64BIT=y\n")  # as of Linux
    with pytest.raises(BuildrootError, match="not a configuration of Buildroot"):
        check_build(tmp_path)


MAKEFILE = r"""
SHELL := /bin/bash
CONFIG_DIR := {base}
space := $(subst ,, )
EXTRA_ENV = PARALLEL_JOBS=3
ZLIB_PKGDIR = package/zlib
ZLIB_FINAL_DEPENDENCIES =  host-m4  toolchain
ZLIB_NAME = zlib
define step_start
	$(foreach hook,$(GLOBAL_INSTRUMENTATION_HOOKS),$(call $(hook),start,$(1),$($(PKG)_NAME)))
endef
include local.mk
/x/build/zlib-1.3/.stamp_built: PKG = ZLIB
/x/build/zlib-1.3/.stamp_built:
	@$(call step_start,build)
"""
"""The parts of Buildroot that call hooks, as package/pkg-generic.mk has them."""


@pytest.mark.process
def test_make_passes_the_facts_of_a_step(base: Path) -> None:
    set_up(base, HOOK)
    (base / SCRIPT).write_text('#!/bin/sh\nprintf "%s\\n" "$PARALLEL_JOBS" "$@"\n')
    (base / "Makefile").write_text(MAKEFILE.format(base=base))
    command = ["make", "-s", "-C", str(base), "/x/build/zlib-1.3/.stamp_built"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        said, _ = process.communicate()
    jobs, make, *words = said.splitlines()
    assert jobs == "3"
    assert make.startswith("--make=2")
    assert make.endswith(f"-{process.pid}")
    assert words == [
        "--directory=/x/build/zlib-1.3",
        f"--package={base}/package/zlib",
        "--needs=host-m4  toolchain",
        "start",
        "build",
        "zlib",
    ]


@pytest.mark.process
@pytest.mark.parametrize(("strict", "code"), [(False, 0), (True, 1)])
def test_a_step_fails_only_if_setup_was_strict(base: Path, *, strict: bool, code: int) -> None:
    set_up(base, Hook(Path("/nowhere/python"), base / ".prov", strict))
    done = subprocess.run([base / SCRIPT, "start", "x", "y"], capture_output=True, check=False)
    assert done.returncode == code
    assert len(done.stderr.splitlines()) == 1
