"""Records that another user may have written cause one clear error and no write elsewhere."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prov.store.objects import MODE_FILE
from tests.commands import run_prov
from tests.schema.check import read_answer

pytestmark = pytest.mark.process

IDENTITY = {
    f"GIT_{role}_{part}": "x" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")
}
RECIPE = """version = "1"
[variables]
X = "1"
Y = "1"
[tasks.make]
{extra}script = '''
mkdir -p img
{script}
echo ${{X}} > img/x
echo ${{Y}} > img/y
'''
outputdir = ["img"]
"""
NEEDS_BWRAP = pytest.mark.skipif(
    shutil.which("bwrap") is None, reason="bubblewrap is not installed"
)


class Lab:
    """A project with one task, and git on its store."""

    def __init__(self, root: Path) -> None:
        self.root, self.store = root, root / ".prov"
        self.environment: dict[str, str] = {}

    def write(self, *, script: str = "", extra: str = "", settings: str = "") -> None:
        (self.root / "recipes").mkdir()
        (self.root / "prov.toml").write_text(f'recipes = ["recipes"]\n{settings}\n')
        (self.root / "recipes/a.toml").write_text(RECIPE.format(script=script, extra=extra))

    def prov(self, *arguments: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        environment = os.environ | self.environment
        done = run_prov(*arguments, cwd=self.root, environment=environment)
        assert code is None or done.returncode == code, done.stdout + done.stderr
        return done

    def build(self, x: int = 1, y: int = 1) -> None:
        self.prov("--version")
        self.prov("build", "--set", f"X={x}", "--set", f"Y={y}", "a:make")

    def git(self, *arguments: str, data: bytes = b"") -> str:
        command = ["git", f"--git-dir={self.store}", *arguments]
        done = subprocess.run(
            command, input=data, capture_output=True, check=True, env=os.environ | IDENTITY
        )
        return done.stdout.decode().strip()

    def with_blob(self, tree: str, path: str, data: bytes) -> str:
        """Return a copy of a tree with a new blob at a path."""
        head, _, rest = path.partition("/")
        rows = {line.split("\t")[1]: line for line in self.git("ls-tree", tree).splitlines()}
        if rest:
            below = self.with_blob(rows[head].split()[2], rest, data)
            rows[head] = f"040000 tree {below}\t{head}"
        else:
            blob = self.git("hash-object", "-w", "--stdin", data=data)
            rows[head] = f"100644 blob {blob}\t{head}"
        return self.git("mktree", data="".join(f"{row}\n" for row in rows.values()).encode())

    def edit_record(self, name: str, change: Callable[[bytes], bytes]) -> None:
        """Change a text in the record of the task's only run."""
        tag = self.git("for-each-ref", "--format=%(refname)", "refs/tags/a/make")
        old = subprocess.run(
            ["git", f"--git-dir={self.store}", "show", f"{tag}^2:{name}"],
            capture_output=True,
            check=True,
        ).stdout
        tree = self.with_blob(self.git("rev-parse", f"{tag}^2^{{tree}}"), name, change(old))
        record = self.git("commit-tree", tree, "-m", "record of a:make")
        parent = self.git("rev-parse", f"{tag}^1")
        commit = self.git(
            "commit-tree", f"{tag}^{{tree}}", "-p", parent, "-p", record, "-m", "a:make"
        )
        self.git("update-ref", tag, commit)

    def edit_definition(self, change: Callable[[dict[str, Any]], object]) -> None:
        def edit(text: bytes) -> bytes:
            table = json.loads(text)
            change(table)
            return json.dumps(table).encode()

        self.edit_record("definition", edit)

    def edit_build(self, path: str, data: bytes) -> None:
        tree = self.with_blob(self.git("rev-parse", "builds^{tree}"), path, data)
        parents = [
            word
            for parent in self.git("log", "-1", "--format=%P", "builds").split()
            for word in ("-p", parent)
        ]
        self.git(
            "update-ref",
            "refs/heads/builds",
            self.git("commit-tree", tree, *parents, "-m", "build"),
        )

    def command(self, text: str) -> str:
        (self.root / "check").write_text(f"#!/bin/sh\n{text}\n")
        (self.root / "check").chmod(0o755)
        return "./check"


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    root = tmp_path / "project"
    root.mkdir()
    return Lab(root)


BAD: dict[str, Callable[[dict[str, Any]], object]] = {
    "absolute chain": lambda table: table.update(chain="/OUTSIDE/evil"),
    "chain upwards": lambda table: table.update(chain="../../../../../../evil"),
    "absolute architecture": lambda table: table.update(arch_name="/OUTSIDE/evil"),
    "program elsewhere": lambda table: table["programs"].append(["/OUTSIDE/evil", "/etc/passwd"]),
    "program upwards": lambda table: table["programs"].append(["../../evil", "/etc/passwd"]),
    "no chain": lambda table: table.pop("chain"),
    "programs are a number": lambda table: table.update(programs=5),
    "folders are numbers": lambda table: table["task"].update(outputdir=[5]),
    "sources are not JSON": lambda table: table.update(excluded={"SOURCES": "nojson"}),
    "a variable that is shell": lambda table: table.update(
        excluded={"x; touch /OUTSIDE/evil": "1"}
    ),
    "after a missing task": lambda table: table.update(after=["a:nothing"]),
    "after itself": lambda table: table.update(after=["a:make"]),
    "file without an id": lambda table: table.update(sources=[["x", 1, "2", ""]]),
    "file upwards": lambda table: table.update(sources=[["../x", MODE_FILE, "0" * 40, ""]]),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize(
    "command", [("rerun", "a:make"), ("shell", "a:make", "--", "true"), ("reproduce", "a")]
)
def test_invalid_definition_is_one_error_and_writes_nothing(
    lab: Lab, tmp_path: Path, name: str, command: tuple[str, ...]
) -> None:
    lab.write()
    lab.build()
    (tmp_path / "outside").mkdir()

    def change(table: dict[str, Any]) -> None:
        BAD[name](table)
        text = json.dumps(table).replace("/OUTSIDE", str(tmp_path / "outside"))
        table.clear()
        table.update(json.loads(text))

    lab.edit_definition(change)
    before = sorted(lab.root.rglob("*evil*"))
    done = lab.prov(*command, code=1)
    assert "Traceback" not in done.stderr
    assert "prov: " in done.stderr
    assert "  hint: " in done.stderr
    assert list((tmp_path / "outside").iterdir()) == []
    assert sorted(lab.root.rglob("*evil*")) == before


@pytest.mark.parametrize("name", ["temp", "recipe-sysroot", "recipe-sysroot-native"])
@pytest.mark.parametrize(
    "command", [("shell", "a:make", "--", "true"), ("shell", "--before", "a:make", "--", "true")]
)
def test_link_in_a_recorded_tree_is_not_followed(
    lab: Lab, tmp_path: Path, name: str, command: tuple[str, ...]
) -> None:
    lab.write()
    lab.build()
    outside = tmp_path / "outside"
    outside.mkdir()
    tag = lab.git("for-each-ref", "--format=%(refname)", "refs/tags/a/make")
    link = lab.git("hash-object", "-w", "--stdin", data=str(outside).encode())
    rows = [*lab.git("ls-tree", tag).splitlines(), f"120000 blob {link}\t{name}"]
    tree = lab.git("mktree", data="".join(f"{row}\n" for row in rows).encode())
    before = lab.git("commit-tree", tree, "-m", "start from x")
    record = lab.git("rev-parse", f"{tag}^2")
    lab.git(
        "update-ref", tag, lab.git("commit-tree", tree, "-p", before, "-p", record, "-m", "a:make")
    )
    lab.prov(*command, code=None)
    lab.prov("rerun", "a:make", code=None)
    assert list(outside.iterdir()) == []


@NEEDS_BWRAP
def test_record_cannot_disable_the_sandbox(lab: Lab, tmp_path: Path) -> None:
    lab.write()
    lab.build()
    lab.edit_record("record", lambda text: text.replace(b"sandbox bwrap", b"sandbox none"))
    assert "recorded without a sandbox" in lab.prov("rerun", "a:make", code=1).stderr
    assert (
        "recorded without a sandbox"
        in lab.prov("rerun", "--sandbox", "bwrap", "a:make", code=1).stderr
    )


LISTS = [
    ("tasks/a", b"garbage\n", ("why", "a:make")),
    ("tasks/a", b"make \xff - -\n", ("diff", "latest")),
    ("tasks/a", b"make 00 - -\n", ("blame", "img/x")),
    ("build", b"seconds lots\n", ("builds",)),
    ("timeline", b"a:make x y z\n", ("report", "-o", "r.html")),
    ("happened", b"a:make failed zz\n", ("why", "a:make")),
    ("tasks/a", b"garbage\n", ("sbom", "a:make")),
    ("recipes", b"a \xff\n", ("sbom", "a:make")),
    ("build", b"targets a:make \xff\n", ("sbom",)),
]


@pytest.mark.parametrize(("path", "data", "command"), LISTS)
def test_invalid_build_list_causes_no_traceback(
    lab: Lab, path: str, data: bytes, command: tuple[str, ...]
) -> None:
    lab.write()
    lab.build()
    lab.build(2, 2)
    lab.edit_build(path, data)
    done = lab.prov(*command, code=None)
    assert done.returncode in (0, 1), done.stderr
    assert "Traceback" not in done.stderr


def test_foreign_tag_is_ignored(lab: Lab) -> None:
    lab.write()
    lab.build()
    lab.git("tag", "release/v1/foo/bar", "builds")
    assert "a:make" in lab.prov("log").stdout


# results of scratch runs do not replace recorded ones


def test_environment_of_several_lines_is_one_value(lab: Lab) -> None:
    lab.write(script='printf "%s" "$ONE" > img/one', settings='environment = ["ONE", "TWO"]')
    lab.environment = {"ONE": "1", "TWO": "2"}
    lab.build()
    lab.environment = {"ONE": "1\nTWO=2\x0cthree\u2028four\\n"}
    lab.build()
    assert lab.prov("rerun", "a:make").stdout == "1 task repeated: identical\n"
    lab.prov("checkout", "a:make@output/img", "copy")
    assert (lab.root / "copy/one").read_bytes().decode() == lab.environment["ONE"]


BOTH = 'test "$(cat $1/img/x)" = 1 || test "$(cat $1/img/y)" = 1'


def test_bisect_without_a_sandbox_requires_the_recorded_tools(lab: Lab, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()

    def write_tool(word: str) -> None:
        (tools / "printer").write_text(f"#!/bin/sh\necho {word}\n")
        (tools / "printer").chmod(0o755)

    lab.write(
        script="printer > img/word", extra='hosttools = ["printer"]\n', settings='sandbox = "none"'
    )
    lab.environment = {"PATH": f"{tools}:{os.environ['PATH']}"}
    write_tool("then")
    lab.build()
    lab.build(2, 2)
    write_tool("now")
    done = lab.prov("bisect", "start", "latest~1", "latest", "--", lab.command(BOTH), code=1)
    assert "differ from the recorded ones" in done.stderr
    write_tool("then")
    lab.prov("bisect", "continue")
    lab.build(2, 1)
    lab.prov("checkout", "a:make@output/img", "copy")
    assert (lab.root / "copy/word").read_text() == "then\n"


def test_command_with_a_constant_verdict_is_reported(lab: Lab) -> None:
    lab.write()
    lab.build()
    lab.build(2, 2)
    done = lab.prov("bisect", "start", "latest~1", "latest", "--", lab.command("exit 0"), code=1)
    assert " as good, but it was given as bad" in done.stderr
    lab.prov("bisect", "reset")
    done = lab.prov("bisect", "start", "latest~1", "latest", "--", lab.command("exit 1"), code=1)
    assert " as bad, but it was given as good" in done.stderr


def test_newest_run_of_a_task_belongs_to_a_build(lab: Lab) -> None:
    lab.write()
    lab.build()
    lab.build(2, 2)
    newest = read_answer(lab.prov("show", "a:make", "--json").stdout)["run"]["tag"]
    lab.prov("bisect", "start", "latest~1", "latest", "--", lab.command(BOTH))
    assert len(lab.git("for-each-ref", "refs/tags/a/make").splitlines()) > 2, (
        "combinations were built"
    )
    assert read_answer(lab.prov("show", "a:make", "--json").stdout)["run"]["tag"] == newest


def test_same_short_content_is_not_a_copy(lab: Lab) -> None:
    lab.write(
        script=(
            ": > first; : > img/stamp; echo ok > LICENSE; echo ok > img/status; echo ok >"
            " img/LICENSE"
        )
    )
    lab.build()
    for name, what in (("stamp", "made"), ("status", "made")):
        steps = read_answer(lab.prov("blame", f"a:make@output/img/{name}", "--json").stdout)[
            "steps"
        ]
        assert [step["what"] for step in steps] == [what]
