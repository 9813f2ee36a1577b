"""A remote with false outputs: no script of theirs runs, and no program outside a sandbox."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.story import HOSTTOOLS, Project
from tests.remote.keys import Keys

pytestmark = pytest.mark.process

RECIPE = """version = "1"
[tasks.go]
outputdir = "out"
deploy = {deploy}
script = "mkdir -p out/top; echo good > out/top/word"
[tasks.stage]
outputdir = "sysroot"
script = "mkdir -p sysroot/usr/bin; echo good > sysroot/usr/word"
[tasks.use]
from = ["go"]
needs = ["a:stage"]
outputdir = "made"
script = 'cat out/top/word "$RECIPE_SYSROOT/usr/word" > made/words'
"""
ATTACK = """
import sys
import prov.tasks.execution as execute
import prov.tasks.script as script
from prov_cli.app import main

if {postprocess!r}:
    execute.postprocess_text = lambda *_: {postprocess!r}.encode()
true_script = script.shell_script
def shell_script(node, own, values):
    return true_script(node, own, values) + ({extra!r} if node.key == "a:stage" else "")
script.shell_script = shell_script
sys.argv = ["prov", *sys.argv[1:]]
main()
"""
POSTINST = (
    "\nprintf '#!/bin/sh\\necho ran > {mark}\\n' > sysroot/usr/bin/postinst-x; chmod 755"
    " sysroot/usr/bin/postinst-x\n"
)


def project(root: Path, *, deploy: bool = True, sandbox: str = "bwrap") -> Project:
    made = Project(root)
    settings = (
        f'recipes = ["recipes"]\nsandbox = "{sandbox}"\n[variables]\nHOSTTOOLS = "{HOSTTOOLS}"\n'
    )
    made.write("prov.toml", settings)
    made.write("recipes/a.toml", RECIPE.format(deploy=str(deploy).lower()))
    return made


def attack(
    root: Path,
    cache: Path,
    *,
    postprocess: str = "",
    extra: str = "",
    sandbox: str,
    options: list[str],
) -> None:
    """Publish outputs for the victim's inputs, with added files."""
    evil = project(root, sandbox=sandbox)
    program = evil.write("attack.py", ATTACK.format(postprocess=postprocess, extra=extra))
    evil.prov("init")
    evil.prov("remote", "add", "team", str(cache), "--push", *options)
    command = [sys.executable, str(program)]
    for words in (["build", "a:use", "a:go"], ["push"]):
        subprocess.run([*command, *words], cwd=evil.root, capture_output=True, check=False)


def shared(cache: Path) -> None:
    """Make a folder shared: any team member can have written its files."""
    cache.chmod(0o2775)


@pytest.mark.parametrize(
    ("trust", "sandbox"), [("none", "bwrap"), ("any-signed", "none"), ("keys", "bwrap")]
)
def test_a_postprocess_that_the_recipe_does_not_have(
    trust: str, sandbox: str, tmp_path: Path
) -> None:
    keys, mark, cache = Keys(tmp_path / "keys"), tmp_path / "mark", tmp_path / "cache"
    script = f"echo ran > {mark}; echo bad > $OUTPUT_DIR/bad\n"
    options = ["--trust", "any-signed", "--key", str(keys.allowed)]
    attack(tmp_path / "evil", cache, postprocess=script, sandbox=sandbox, options=options)
    mark.unlink(missing_ok=True)
    victim = project(tmp_path / "victim", sandbox=sandbox)
    victim.prov("init")
    signers = ["--signers", str(keys.signers)] if trust == "keys" else []
    victim.prov("remote", "add", "team", str(cache), "--trust", trust, *signers)
    done = victim.prov("build", "a:use", "a:go")
    assert "a:go: its postprocess script differs from the recipe's" in done.stderr
    assert not mark.exists()
    files = [path for path in (victim.root / "build/deploy").rglob("*") if path.is_file()]
    assert [path.read_text() for path in files] == ["good\n"]


def test_a_postprocess_that_the_recipe_has_is_taken(tmp_path: Path) -> None:
    cache, script = tmp_path / "cache", 'echo ${PN}${EXTRA} >> "$OUTPUT_DIR/top/word"'
    made = []
    for name in ("one", "other"):
        each = project(tmp_path / name)
        each.append("recipes/a.toml", "[variables]\nEXTRA = 'more'\n")
        each.edit("recipes/a.toml", "deploy = true", f"deploy = true\npostprocess = '{script}'")
        each.prov("init")
        each.prov("remote", "add", "team", str(cache), "--push", "--trust", "none")
        made.append(each.prov("build", "a:go"))
        each.prov("push")
        assert (each.root / "build/deploy/top/word").read_text() == "good\namore\n"
    assert "1 fetched" in made[1].stdout


@pytest.mark.parametrize("pulled", [False, True])
@pytest.mark.parametrize("sandbox", ["bwrap", "none"])
def test_programs_of_unsigned_outputs(sandbox: str, *, pulled: bool, tmp_path: Path) -> None:
    """In a sandbox they can change only the sysroot; without one, prov runs the task instead."""
    mark, cache = tmp_path / "mark", tmp_path / "cache"
    attack(
        tmp_path / "evil",
        cache,
        extra=POSTINST.format(mark=mark),
        sandbox=sandbox,
        options=["--trust", "none"],
    )
    mark.unlink(missing_ok=True)
    shared(cache)
    victim = project(tmp_path / "victim", sandbox=sandbox)
    victim.prov("init")
    victim.prov("remote", "add", "team", str(cache), "--trust", "none")
    if pulled:
        victim.prov("pull", "a:use", code=0)
        victim.prov("remote", "remove", "team")
        victim.edit("recipes/a.toml", "made/words", "made/other")  # to compose its sysroot
    else:
        victim.edit("recipes/a.toml", "made/words", "made/other")
    done = victim.prov("build", "a:use", code=0 if sandbox == "none" else None)
    assert not mark.exists()
    if sandbox == "none":
        assert "the program" in done.stderr and "usr/bin/postinst-x" in done.stderr


def test_a_remote_in_the_users_own_folder_is_as_good_as_local(tmp_path: Path) -> None:
    mark, cache = tmp_path / "mark", tmp_path / "cache"
    for name in ("one", "other"):
        each = project(tmp_path / name, sandbox="none")
        each.edit(
            "recipes/a.toml",
            "echo good > sysroot/usr/word",
            "echo good > sysroot/usr/word; echo > sysroot/usr/x.so",
        )
        each.prov("init")
        each.prov("remote", "add", "team", str(cache), "--push", "--trust", "none")
        done = each.prov("build", "a:stage")
        each.prov("push")
    assert "the program" not in done.stderr and not mark.exists()
    assert "1 fetched" in done.stdout


def test_an_unsigned_output_is_not_published_as_ones_own(tmp_path: Path) -> None:
    cache, own = tmp_path / "cache", tmp_path / "own"
    attack(tmp_path / "evil", cache, sandbox="none", options=["--trust", "none"])
    shared(cache)
    victim = project(tmp_path / "victim", sandbox="none")
    victim.prov("init")
    victim.prov("remote", "add", "team", str(cache), "--trust", "none")
    victim.prov("build", "a:go")
    victim.prov("remote", "add", "mine", str(own), "--push", "--trust", "none")
    assert "fetched from a remote without a signature" in victim.refused("push", "--remote", "mine")
