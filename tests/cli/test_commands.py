"""The table of commands matches their modules, and modules are imported only when needed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from prov_cli.commands import COMMANDS, load_command
from prov_cli.help import summary

from tests.commands import run_prov

pytestmark = pytest.mark.process

PROV = str(Path(sys.executable).with_name("prov"))
CLI = Path(__file__).parents[2] / "cli"
EXECUTED = """
import sys, types
import prov_cli.app
from prov_cli.commands import load_command
for name in sys.argv[1:]:
    load_command(name)
modules = {name: module for name, module in sys.modules.items() if name.startswith("prov.")}
print(*sorted(name for name, module in modules.items() if type(module) is types.ModuleType))
"""
"""A program that prints the library modules that loading commands executes."""


SMALL = {"prov.errors", "prov.processes", "prov.progress", "prov.records.keys", "prov.text"}
"""Modules that import little beyond the standard library."""


@pytest.mark.parametrize("name", COMMANDS)
def test_the_table_has_the_first_sentence_of_each_commands_help(name: str) -> None:
    assert summary(load_command(name)) == COMMANDS[name]
    assert len(COMMANDS[name]) < 55


def test_every_module_with_a_command_is_in_the_table() -> None:
    entry = re.compile(r"^(def command\(|group = CommandGroup)", re.MULTILINE)
    files = [path for path in CLI.glob("*.py") if entry.search(path.read_text())]
    modules = {path.stem.replace("_", "-") for path in files}
    assert modules == set(COMMANDS)


def test_help_of_commands_executes_no_module_of_the_library_but_small_ones() -> None:
    arguments = [sys.executable, "-c", EXECUTED, *COMMANDS]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    modules = set(done.stdout.split())
    packages = {"prov." + path.parent.name for path in (CLI.parent / "prov").glob("*/__init__.py")}
    assert modules - packages == SMALL


def test_every_command_has_help_with_an_example() -> None:
    listing = subprocess.run([PROV, "--help"], capture_output=True, text=True, check=True).stdout
    assert re.findall(r"^  ([a-z][a-z-]+)  +\S", listing, re.M) == list(COMMANDS)
    assert len(listing.splitlines()) <= 67
    assert max(map(len, listing.splitlines())) <= 80
    for name in COMMANDS:
        done = run_prov(name, "--help")
        assert (done.returncode, "Example" in done.stdout) == (0, True), name


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["buidl"], 2, "No such command 'buidl'. Did you mean 'build', 'builds'?"),
        (["remote", "lst"], 2, "No such command 'lst'. Did you mean 'list'?"),
        (["build", "--nonsense"], 2, "No such option: --nonsense"),
        (["build"], 2, "Missing argument 'TARGET'"),
        ([], 2, "Usage: prov [OPTIONS] COMMAND"),
    ],
)
def test_wrong_usage_is_named(arguments: list[str], status: int, words: str) -> None:
    done = subprocess.run([PROV, *arguments], capture_output=True, text=True)
    assert (done.returncode, words in done.stdout + done.stderr) == (status, True)


@pytest.mark.parametrize(
    ("words", "answers"),
    [
        ("prov re", ["reads", "report", "rev-parse", "rerun", "reproduce", "remote"]),
        ("prov build --fo", ["--force", "--follow"]),
        ("prov remote ", ["add", "remove", "gc", "list"]),
        ("prov no-such-command ", list(COMMANDS)),
    ],
)
def test_the_shell_completes_names_and_options(words: str, answers: list[str]) -> None:
    environment = {
        **os.environ,
        "_PROV_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
    }
    done = subprocess.run([PROV], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == answers
