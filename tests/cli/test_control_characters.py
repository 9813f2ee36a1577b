"""No command lets text from tasks, records or remotes control the terminal."""

from __future__ import annotations

import os
import re
import subprocess
import termios
from pathlib import Path

import pytest

from tests.cli.story import HOSTTOOLS, Project
from tests.cli.test_hostile_records import Lab
from tests.commands import PROV, run_prov_bytes
from tests.schema.check import read_answer
from tests.terminal import Terminal

pytestmark = pytest.mark.process

EVIL = "\x1b]0;owned\x07\x1b[2K\x1b[31m\b\x7f\u009b2J\u202egpj\u2066x\u061cy"
"""Sets a title, clears and colours a line, moves back, clears the screen, and reverses the text."""
NAME = f"a{EVIL}z"
# octal, for printf and for TOML's literal strings
OCTAL = "".join(f"\\{byte:03o}" for byte in EVIL.encode())
RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
COLOURS = re.compile("\x1b\\[(1|31|32|33|36)?m")
SHOWN = "\\x1b]0;owned"
TOML = "".join(f"\\u{ord(letter):04x}" for letter in EVIL)
RECIPE = f"""
version = "1"
build = ["go"]
export = ["EXPORTED"]
[variables]
GREETING = "GREETS{TOML}"
EXPORTED = "{TOML}"
[tasks.go]
outputdir = "out"
deploy = true
script = '''
evil=$(printf '{OCTAL}')
mkdir -p out/usr
echo "$GREETING" > out/usr/greeting
echo x > "out/$evil"
ln -s "$evil" "out/link"
ln -s "nowhere$evil" "out/usr/link$evil"
echo "printed: $evil"
echo "error: $evil" >&2
exit CODE
'''
"""


def recipe(greeting: str, code: int = 0) -> str:
    return RECIPE.replace("GREETS", greeting).replace("CODE", str(code))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with two builds and a failed one, with control characters wherever possible."""
    project = Project(tmp_path_factory.mktemp("hostile") / "project")
    tools = HOSTTOOLS + " echo printf"
    project.write(
        "prov.toml",
        f'recipes = ["recipes"]\nsandbox = "none"\n[variables]\nHOSTTOOLS = "{tools}"\n',
    )
    project.write("recipes/a.toml", recipe("hello"))
    project.prov("build", "a:go")
    project.prov("label", "first")
    project.write("recipes/a.toml", recipe("bye"))
    project.prov("build", "a:go")
    project.prov("label", "second")
    project.write(f"plain/{NAME}", EVIL)
    project.write("plain/two\nlines", "x")
    project.prov("capture", "plain", "--as", "plain:one")
    project.write(f"plain/more{NAME}", EVIL)
    project.prov("capture", "plain", "--as", "plain:two")
    project.write("recipes/bad.toml", recipe("bad", 7))
    project.prov("build", "bad:go", code=1)
    return project


COMMANDS = [
    "build --rebuild bad:go",
    "plan a:go --rebuild",
    "log",
    "log usr/greeting",
    "show a:go",
    "show bad:go",
    "diff a:go",
    "diff --stat a:go",
    "diff plain:one plain:two",
    "diff --patch plain:one plain:two",
    "diff first second",
    "checkout --link a:go@output NEW",
    "sysroot a",
    "compose NEW a:go",
    "buildpaths a",
    "capture plain --as plain:three",
    "var GREETING a",
    "gc --dry-run",
    "du",
    "forget --dry-run a:go",
    "forget --dry-run --containing owned",
    "fsck --full",
    "why a:go --build second",
    "why a:go --against first",
    "blame usr/greeting",
    "blame --lines usr/greeting",
    "blame --lines plain:one@workdir/EVIL",
    "blame a:go@output/EVIL",
    "blame nowhere/EVIL",
    "rerun bad:go --sandbox none",
    "reproduce a --sandbox none",
    "report -o NEW",
    "attest a:go --unsigned",
    "sbom a:go",
    "sbom EVIL",
    "graph",
    "builds",
    "label",
    "remote list",
    "bisect log",
    "bisect start first second -- true",
    "bisect start first second -- nowhere/EVIL",
    "show nowhere/EVIL",
    "log EVIL/EVIL",
    "EVIL",
]


EXACT = ("diff --patch", "attest", "sbom a:go")
"""Commands whose output programs read from a pipe, unescaped."""
COLOURED = ("diff --", "log", "show")
"""Commands that use colours on a terminal."""
PAGER = "cat -"
"""A pager that, unlike less, prints no escape sequences of its own."""


def words_of(command: str, tmp_path: Path) -> list[str]:
    return [
        word.replace("EVIL", EVIL).replace("NEW", str(tmp_path / "new")) for word in command.split()
    ]


def in_pipe(project: Project, words: list[str]) -> str:
    done = run_prov_bytes(*words, cwd=project.root)
    return (done.stdout + done.stderr).decode()


def on_terminal(project: Project, words: list[str]) -> str:
    environment = {"TERM": "xterm", "COLUMNS": "400", "GIT_PAGER": PAGER}
    command = [PROV, *words]
    with Terminal(command, project.root, environment, prepare=plain_output) as terminal:
        terminal.ended()
        return terminal.screen.decode()


def plain_output(terminal: int) -> None:
    """Let a terminal pass output through, without a carriage return before each newline."""
    modes = termios.tcgetattr(terminal)
    modes[1] &= ~termios.OPOST
    termios.tcsetattr(terminal, termios.TCSANOW, modes)


def raw_in(text: str) -> list[str]:
    return [text[max(0, match.start() - 40) : match.end() + 20] for match in RAW.finditer(text)]


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_prints_control_characters(
    hostile: Project, tmp_path: Path, command: str
) -> None:
    text = in_pipe(hostile, words_of(command, tmp_path))
    assert "Traceback" not in text
    if not command.startswith(EXACT):
        assert raw_in(text) == []
    (tmp_path / "new").rename(tmp_path / "old") if (tmp_path / "new").exists() else None
    text = on_terminal(hostile, words_of(command, tmp_path))
    if command.startswith("build"):
        text = text.replace("\r", "").replace("\x1b[A", "")  # the progress bar's
    if command.startswith(COLOURED):
        text = COLOURS.sub("", text)
    assert raw_in(text) == []


def test_escaped_characters_are_visible(hostile: Project) -> None:
    for command in (
        "show a:go",
        "show bad:go",
        "diff plain:one plain:two",
        "var GREETING a",
        "blame --lines usr/greeting",
    ):
        assert SHOWN in in_pipe(hostile, command.split()), command
    for command in ("build --rebuild bad:go", "diff --patch plain:one plain:two"):
        assert SHOWN in on_terminal(hostile, command.split()), command
    assert "A two\\nlines\n" in in_pipe(hostile, ["diff", "plain:one"])


def test_json_is_exact_and_has_no_control_characters(hostile: Project) -> None:
    text = hostile.ask("show", "a:go", "--json")
    assert raw_in(text) == []
    assert f"printed: {EVIL}" in read_answer(text)["log"]


def test_record_has_the_exact_log(hostile: Project) -> None:
    tag = hostile.tag("a:go")
    command = ["git", "--git-dir=.prov", "cat-file", "blob", f"{tag}^2:log"]
    assert (
        EVIL.encode()
        in subprocess.run(command, cwd=hostile.root, capture_output=True, check=True).stdout
    )


def test_a_patch_in_a_pipe_can_be_applied(hostile: Project, tmp_path: Path) -> None:
    """Control characters and bytes that are not UTF-8 are kept."""
    old, new = tmp_path / "old", tmp_path / "new"
    for folder, text in (
        (old, b"first\n"),
        (new, b"second\xe9\x9b\r\n" + EVIL.encode() + b"\nno newline"),
    ):
        folder.mkdir()
        (folder / "file").write_bytes(text)
        hostile.prov("capture", str(folder), "--as", f"patch:{folder.name}")
    done = subprocess.run(
        [PROV, "diff", "--patch", "patch:old", "patch:new"],
        cwd=hostile.root,
        capture_output=True,
        check=True,
    )
    subprocess.run(["git", "apply", "-"], cwd=old, input=done.stdout, check=True)
    assert (old / "file").read_bytes() == (new / "file").read_bytes()


def test_patch_on_a_terminal_has_only_provs_colours(hostile: Project) -> None:
    text = on_terminal(hostile, ["diff", "--patch", "first/a:go@output", "second/a:go@output"])
    assert re.search("\n\x1b\\[1mdiff --git [^\n]*\x1b\\[m\n", "\n" + text)
    assert re.search("\n\x1b\\[36m@@ [^\n]*\x1b\\[m\n", text)
    assert re.search(
        "\n\x1b\\[31m-hello\\\\x1b\\]0;owned[^\n]*\x1b\\[m\n\x1b\\[32m\\+bye\\\\x1b\\]0;owned", text
    )
    text = on_terminal(hostile, ["diff", "--stat", "first/a:go@output", "second/a:go@output"])
    assert re.search("usr/greeting \\| 2 \x1b\\[32m\\+\x1b\\[31m-\x1b\\[m\n", text)
    assert "\x1b" not in in_pipe(
        hostile, ["diff", "--stat", "first/a:go@output", "second/a:go@output"]
    )


RECORDS = [
    ("record", b"result ok", f"result ok{EVIL}\x1b[1m".encode()),
    ("record", b"sandbox ", f"host {EVIL}\nsandbox ".encode()),
    ("log", b"", f"log {EVIL}\rhidden\n".encode()),
    ("environment", b"", f"X={EVIL}\n".encode()),
]


@pytest.mark.attacks
@pytest.mark.parametrize(("name", "old", "new"), RECORDS)
def test_foreign_record_cannot_control_the_terminal(
    tmp_path: Path, name: str, old: bytes, new: bytes
) -> None:
    root = tmp_path / "project"
    root.mkdir()
    lab = Lab(root)
    lab.write(settings='sandbox = "none"')
    lab.build()
    lab.build(2, 2)
    lab.git(
        "tag",
        "-d",
        lab.git("for-each-ref", "--format=%(refname:strip=2)", "refs/tags/a/make").split()[0],
    )
    lab.edit_record(name, lambda text: text.replace(old, new, 1) if old else new + text)
    lab.edit_build(
        "build", f"targets a:make{EVIL}\nhost {EVIL}\nresult ok{EVIL}\nseconds 1\n".encode()
    )
    project = Project(root)
    for command in (
        "show a:make",
        "builds",
        "log",
        "why a:make",
        "diff latest",
        "fsck",
        "blame img/x",
        "du",
    ):
        for text in (in_pipe(project, command.split()), on_terminal(project, command.split())):
            assert raw_in(text) == [], command


def test_output_of_ssh_and_hooks_is_escaped(hostile: Project, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(
        f"#!/bin/sh\nprintf '{OCTAL}\\n' >&2\nprintf 'fatal: {OCTAL}\\n' >&2\nexit 255\n"
    )
    script.chmod(0o755)
    store = ["--store", str(tmp_path / "store")]
    project = Project(hostile.root, {"GIT_SSH_COMMAND": str(script)})
    os.environ["GIT_SSH_COMMAND"] = str(script)
    try:
        for words in (
            ["remote", "add", "far", "ssh://example.org/x", "--push", *store],
            ["remote", "list", "--refresh", *store],
            ["pull", "a:go", *store],
            ["push", *store],
        ):
            for text in (in_pipe(project, words), on_terminal(project, words)):
                assert raw_in(text) == [], words
    finally:
        del os.environ["GIT_SSH_COMMAND"]
    cache = tmp_path / "cache"
    project.prov("remote", "add", "team", str(cache), "--push")
    (cache / "hooks").mkdir(exist_ok=True)
    (cache / "hooks" / "pre-receive").symlink_to(script)
    for words in (["push", "-r", "team"], ["remote", "list"]):
        for text in (in_pipe(project, words), on_terminal(project, words)):
            assert raw_in(text) == [], words
    project.prov("remote", "remove", "team")


def test_bisection_log_is_escaped(hostile: Project) -> None:
    log = hostile.root / ".prov" / "bisect"
    log.write_text(f'{{"question": {EVIL}\n')
    try:
        for words in (["bisect", "log"], ["bisect", "continue"]):
            for text in (in_pipe(hostile, words), on_terminal(hostile, words)):
                assert raw_in(text) == [], words
    finally:
        log.unlink()
