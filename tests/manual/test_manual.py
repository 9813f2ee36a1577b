"""The committed manual pages match the help, and man and mandoc accept them."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from prov_cli.commands import COMMANDS

from . import MAN, sources
from .page import Text, read_help
from .roff import escape, marked, styled
from .shared import DOCS


def test_pages_are_up_to_date() -> None:
    written = {path.name: path.read_text() for path in MAN.iterdir()}
    assert written == sources(), "run `make man`"


def test_every_command_has_a_page() -> None:
    names = {path.name for path in MAN.iterdir()}
    assert {f"prov-{name}.1" for name in COMMANDS} <= names
    assert "prov-remote-add.1" in names


@pytest.mark.skipif(shutil.which("man") is None, reason="man-db is not installed")
def test_man_has_no_warnings() -> None:
    for path in sorted(MAN.glob("prov*.1")):
        command = ["man", "--warnings", "--encoding=ascii", "--local-file", str(path)]
        environment = {**os.environ, "LC_ALL": "C.UTF-8"}
        shown = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert shown.stderr == ""
        assert f"{path.stem.upper()}(1)" in shown.stdout


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="mandoc is not installed")
def test_mandoc_has_no_warnings() -> None:
    pages = sorted(f"man1/{path.name}" for path in MAN.glob("prov*.1"))
    command = ["mandoc", "-T", "lint", "-W", "style", *pages]
    lint = subprocess.run(command, cwd=MAN.parent, capture_output=True, text=True, check=False)
    # the pages have no date, so they change only with the help
    assert [line for line in lint.stdout.splitlines() if "missing date" not in line] == []


def test_exit_codes_list_every_command_that_checks() -> None:
    page = (DOCS / "exit-codes.md").read_text()
    shared = {"repetitions"}  # of rerun and reproduce
    for path in (DOCS.parent / "cli").glob("*.py"):
        if "typer.Exit(1)" in path.read_text() and path.stem not in shared:
            assert f"`prov {path.stem}" in page


def test_help_is_split_into_sentence_paragraphs_and_examples() -> None:
    help_text = """Build targets. Stops at the first failure.

    More
    of it.

    Examples:
        prov build zlib
        prov build -j4 world
    """
    assert read_help(help_text) == (
        "Build targets",
        [Text(("Stops at the first failure.",)), Text(("More", "of it."))],
        [Text(("prov build zlib", "prov build -j4 world"), literal=True)],
    )


def test_examples_may_follow_an_empty_line() -> None:
    help_text = "Build.\n\n\b\nExamples:\n\n  prov build zlib\n"
    assert read_help(help_text)[2] == [Text(("prov build zlib",), literal=True)]


def test_roff_is_escaped() -> None:
    assert escape(".prov\\x") == "\\&.prov\\ex"
    assert marked("see `prov log` here") == "see \\fBprov log\\fR here"
    assert styled("-j, --jobs N, --store DIR") == (
        "\\fB\\-j\\fR, \\fB\\-\\-jobs\\fR N, \\fB\\-\\-store\\fR \\fIDIR\\fR"
    )
