"""Every answer of `--json`, checked against its schema."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.cli.story import Project
from tests.schema.files import KINDS

pytestmark = pytest.mark.process

WORD = "lib:install@output/image/usr/share/word"
PLACE = 'echo "$WORKDIR" > $D/usr/share/place'
LIB = f"""version = '1'
sources = [{{ file = 'src' }}]
[variables]
WORD = 'one'
[tasks.install]
script = '''mkdir -p $D/usr/share; echo $WORD > $D/usr/share/word; {PLACE}'''
"""
DICE = "version = '1'\n[tasks.install]\nscript = 'date +%s%N > $D/number'\n"
JUDGE = ("--of", "lib:install@output", "--", "grep", "one", "{}/image/usr/share/word")
COPIED = ("--", "sh", "-c", 'grep -q good "$0/copy"')

COMMANDS = {
    "log": ("log",),
    "log-of-path": ("log", WORD),
    "run": ("show", "lib:install"),
    "reads": ("reads", "lib:install"),
    "builds": ("builds",),
    "labels": ("label",),
    "diff": ("diff", "lib:install"),
    "build-diff": ("diff", "good", "latest"),
    "why": ("why", "lib:install"),
    "blame": ("blame", WORD),
    "blame-lines": ("blame", "--lines", WORD),
    "bisect": ("bisect", "start", "good", "latest", *JUDGE),
    "bisect-commits": ("bisect", "commits", "HEAD~1", "HEAD", "--steps", "copied", *COPIED),
    "plan": ("plan", "user"),
    "status": ("status",),
    "variable": ("var", "WORD", "lib"),
    "sysroot": ("sysroot", "user"),
    "sysroot-why": ("sysroot", "user", "--why", "usr/share/word"),
    "reproduced": ("rerun", "lib:install"),
    "recorded-differences": ("reproduce", "--recorded"),
    "advice": ("advise", "user"),
    "buildpaths": ("buildpaths", "lib"),
    "fsck": ("fsck",),
    "gc": ("gc", "--dry-run", "--builds", "1", "--workdirs", "1", "--days", "0"),
    "forget": ("forget", "--dry-run", "lib:install"),
    "query": ("query", "select tag, seconds, workdir_commit from runs"),
    "du": ("du",),
    "remotes": ("remote", "list"),
    "doctor": ("doctor",),
}
"""Kind -> a command whose answer has content."""
ELSEWHERE = {"farm"}
"""Kinds of answers that other tests check: `farm` needs a scheduler (tests/cli/test_farm.py)."""
FAILING = ("recorded-differences",)
"""Kinds of answers with exit status 1."""
EMPTY = {
    "blame": {"units"},
    "reads": {"groups"},
    "advice": {"unused", "floating", "transitive", "idle"},
    "bisect": {"earlier"},
    "fsck": {"problems", "done", "left"},
    "forget": {"moved", "workdirs", "remotes", "left"},
}
"""Kind -> lists that are empty in the answer."""


def commit_all(folder: Path, message: str) -> None:
    """Commit all files of a folder that git does not ignore."""
    identity = ["-c", "user.name=t", "-c", "user.email=t@t"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", message]):
        subprocess.run(["git", "-C", folder, *identity, *words], check=True)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with a changed variable, a sysroot, a remote and a task with two outputs."""
    project = Project(tmp_path_factory.mktemp("json"))
    project.write("prov.toml", 'recipes = ["recipes"]\nsandbox = "none"\n')
    for word in ("good", "bad"):
        project.write("word", word)
        commit_all(project.root, word)
    project.prov("run", "--build", "copied", "--as", "word:copy", "--", "cp", "word", "copy")
    project.write("recipes/src/text", "text")
    project.write("recipes/lib.toml", LIB)
    project.write("recipes/dice.toml", DICE)
    project.write("recipes/user.toml", "version = '1'\ndepends = ['lib']\n")
    project.prov("build", "world")
    project.prov("label", "good")
    project.edit("recipes/lib.toml", "one", "two")
    project.prov("build", "world")
    project.edit("recipes/lib.toml", "two", "three")
    project.prov("build", "--force", "dice:install", "world")
    project.prov("remote", "add", "team", f"file://{project.root}/cache")
    return project


@pytest.mark.parametrize("kind", COMMANDS)
def test_an_answer_is_as_its_schema_has_it(built: Project, kind: str) -> None:
    answer = built.json(*COMMANDS[kind], code=int(kind in FAILING))
    assert answer["kind"] == kind
    assert {key for key, value in answer.items() if value in ([], {})} <= EMPTY.get(kind, set())


def test_every_kind_has_a_command_here() -> None:
    assert COMMANDS.keys() | ELSEWHERE == KINDS.keys()
