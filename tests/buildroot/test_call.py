"""Tests of the words and variables of a call."""

from __future__ import annotations

from pathlib import Path

import pytest

from prov.buildroot.call import StepCall
from prov.errors import BuildrootError, ProvError

WORDS = (
    "--make=20260102-030405-678",
    "--directory=/o/build/host-m4-1.4.19",
    "--package=package/m4",
    "--needs= host-skeleton  host-tar",
    "end",
    "install-host",
    "host-m4",
)


def test_a_call_has_the_facts_of_its_step() -> None:
    call = StepCall.parse(WORDS, {"HOST_DIR": "/o/host", "SECRET": "x"})
    assert (call.is_start, call.key) == (False, "host-m4:install-host")
    assert call.directory == Path("/o/build/host-m4-1.4.19")
    assert call.folder == Path("package/m4")
    assert call.needs == ("host-skeleton", "host-tar")
    assert call.version == "1.4.19"
    assert (call.build, call.pid) == ("buildroot-20260102-030405-678", 678)
    assert call.environment == {"HOST_DIR": "/o/host"}


def test_a_saved_call_is_the_same() -> None:
    call = StepCall.parse(WORDS, {"HOST_DIR": "/o/host", "PROV_BUILD": "ci-1"})
    assert StepCall.parse(call.words, call.environment) == call
    assert call.build == "ci-1"


def test_a_package_without_a_version() -> None:
    words = ["--make=1-2", "--directory=/o/build/toolchain", "start", "build", "toolchain"]
    assert StepCall.parse(words, {}).version == ""


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["start", "build"],
        ["begin", "build", "zlib"],
        ["start", "build", "zlib"],
        ["--directory=build/zlib", "start", "build", "zlib"],
        ["--directory=", "--make=1-2", "start", "build", "zlib"],
    ],
)
def test_a_call_that_local_mk_did_not_make_is_an_error(words: list[str]) -> None:
    with pytest.raises(BuildrootError) as raised:
        StepCall.parse(words, {})
    assert "prov buildroot setup" in raised.value.hint


@pytest.mark.parametrize("change", [("zlib:x/../y", {}), ("zlib", {"PROV_BUILD": "a/b"})])
def test_a_name_that_is_no_ref_is_an_error(change: tuple[str, dict[str, str]]) -> None:
    package, variables = change
    words = ["--directory=/o/build/x", "--make=1-2", "start", "build", package]
    with pytest.raises(ProvError, match="invalid"):
        StepCall.parse(words, variables)


@pytest.mark.parametrize(("make", "pid"), [("20260102-030405-678", 678), ("", 0), ("x-y", 0)])
def test_the_process_of_make_is_the_last_number(make: str, pid: int) -> None:
    words = [f"--make={make}", "--directory=/o/build/zlib", "start", "build", "zlib"]
    assert StepCall.parse(words, {"PROV_BUILD": "x"}).pid == pid
