"""`prov diff` of files: git's diff, changes that git cannot show, and external tools."""

from __future__ import annotations

import shutil

import pytest

from tests.cli.story import Project, in_order

pytestmark = pytest.mark.process

ONE = """
mkdir out/old out/gone out/folder
echo 1 > out/old/name
touch out/folder/file out/kind
echo x > out/mode
echo x > out/setuid
echo text > out/text
ln -s one out/link
"""
OTHER = """
mkdir out/new out/empty out/folder
echo 1 > out/new/name
touch out/folder/file
chmod 700 out/folder
ln -s folder out/kind
echo x > out/mode
chmod 755 out/mode
echo x > out/setuid
chmod 4755 out/setuid
echo texts > out/text
ln -s other out/link
"""
BEYOND_GIT = [
    "A out/empty/",
    "P out/folder  drwxr-xr-x -> drwx------",
    "D out/gone/",
    "P out/setuid  -rw-r--r-- -> -rwsr-xr-x",
]
ALL = [
    "A out/empty/",
    "P out/folder  drwxr-xr-x -> drwx------",
    "D out/gone/",
    "T out/kind  -rw-r--r-- -> lrwxrwxrwx",
    "M out/link  one -> other",
    "P out/mode  -rw-r--r-- -> -rwxr-xr-x",
    "R out/old/name -> out/new/name",
    "P out/setuid  -rw-r--r-- -> -rwsr-xr-x",
    "M out/text",
]
SIDES = ("latest~1/a:go@output", "latest/a:go@output")


@pytest.fixture
def changed(small: Project) -> Project:
    """Two builds whose outputs have every kind of difference."""
    for script in (ONE, OTHER):
        small.task(script)
        small.prov("build", "a")
    return small


def test_every_kind_of_difference_has_its_line(changed: Project) -> None:
    lines = changed.ask("diff", *SIDES).splitlines()
    assert sorted(lines) == sorted(ALL)
    in_order(changed.ask("diff", "latest"), "files of a:go:", *lines)


def test_json_has_modes_and_ids(changed: Project) -> None:
    rows = {row["path"]: row for row in changed.json("diff", *SIDES)["differences"]}
    assert rows["out/new/name"]["old_path"] == "out/old/name"
    assert rows["out/new/name"]["old_oid"] == rows["out/new/name"]["new_oid"]
    assert (rows["out/setuid"]["old_mode"], rows["out/setuid"]["new_mode"]) == (0o100644, 0o104755)
    assert (rows["out/empty"]["change"], rows["out/gone"]["change"]) == ("added", "removed")
    assert changed.git("cat-file", "blob", rows["out/text"]["new_oid"]) == "texts\n"


def test_stat_is_gits_and_lists_changes_beyond_git(changed: Project) -> None:
    lines = changed.ask("diff", *SIDES, "--stat").splitlines()
    assert [" ".join(line.split()) for line in lines if "name" in line] == [
        "out/{old => new}/name | 0"
    ]
    assert [line for line in lines if not line.startswith(" ")] == BEYOND_GIT


def test_patch_is_gits_and_lists_changes_beyond_git(changed: Project) -> None:
    text = changed.ask("diff", *SIDES, "--patch")
    in_order(
        text,
        "-one",
        "+other",
        "rename from out/old/name",
        "rename to out/new/name",
        "-text",
        "+texts",
    )
    assert text.splitlines()[-len(BEYOND_GIT) :] == BEYOND_GIT


def test_task_is_compared_with_its_previous_workdir_or_another_run(changed: Project) -> None:
    assert "A out/empty/" in changed.ask("diff", "a:go").splitlines()
    assert sorted(changed.ask("diff", "latest~1/a:go", "a:go").splitlines()) == sorted(ALL)
    assert changed.ask("diff", "a:go", "a:go") == ""


def test_tool_gets_both_checkouts_and_its_status_is_returned(changed: Project) -> None:
    tool = changed.write(
        "tool", '#!/bin/sh\necho "$1: $(cat $2/out/text), $(cat $3/out/text)"; exit 4\n'
    )
    tool.chmod(0o755)
    assert changed.ask("diff", *SIDES, "--tool", f"{tool} texts", code=4) == "texts: text, texts\n"
    assert "nonesuch is not installed" in changed.refused("diff", *SIDES, "--tool", "nonesuch")


@pytest.mark.skipif(not shutil.which("diffoscope"), reason="diffoscope is not installed")
def test_diffoscope_works_as_a_tool(changed: Project) -> None:
    assert "texts" in changed.ask("diff", *SIDES, "--tool", "diffoscope --text -", code=1)
