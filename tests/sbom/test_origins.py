"""Contents are followed through copies and archives to the tasks that made them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from prov.sbom.origins import Origins
from tests.history.tiny import Tiny
from tests.sbom.project import TEXTS, build_project, graph_of, origins_in, run_of


def test_copies_lead_to_the_task_that_made_the_content(tiny: Tiny) -> None:
    assert origins_in(graph_of(tiny), "image:rootfs") == {
        "rootfs/usr/lib": ("lib:make", "made"),
        "rootfs/usr/again": ("lib:make", "made"),
        "rootfs/usr/a": ("lib:fetch", "sources/folder/a"),
        "rootfs/usr/empty": ("lib:stage", "image/usr/empty"),
    }


def test_a_patched_file_is_made_by_the_patch_task(tiny: Tiny) -> None:
    graph = graph_of(tiny)
    origins = Origins(graph).before(run_of(graph, "lib:make"), [b"lib.c", b"folder/a", b"no"])
    assert {path: (origin.task.key, origin.path) for path, origin in origins.items()} == {
        b"lib.c": ("lib:patch", b"lib.c"),
        b"folder/a": ("lib:fetch", b"sources/folder/a"),
    }


@pytest.mark.parametrize(
    ("text", "maker"),
    [
        ("short\n", "image:rootfs"),
        ("a text of more than sixteen bytes\n", "lib:fetch"),
    ],
)
def test_short_contents_are_not_followed_to_other_names(
    tmp_path: Path, text: str, maker: str
) -> None:
    copied = "cp image/usr/a rootfs/b"
    image = TEXTS["image.toml"].replace("cp image/usr/lib rootfs/usr/again", copied)
    tiny = build_project(tmp_path, {**TEXTS, "folder/a": text, "image.toml": image})
    assert origins_in(graph_of(tiny), "image:rootfs")["rootfs/b"][0] == maker


def test_contents_of_archives_are_found_in_workdirs(tmp_path: Path) -> None:
    lib = TEXTS["lib.toml"].replace(
        ": > image/usr/empty'''",
        ": > image/usr/empty'''\n[tasks.pack]\nfrom = ['stage']\noutputdir = 'packed'\n"
        "script = 'cat image/usr/* > packed/archive'\n",
    )
    image = (
        TEXTS["image.toml"].replace("'lib:stage'", "'lib:pack'").split("script")[0]
        + 'script = \'cat packed/archive > rootfs/archive; printf "%s" "$TEXT" > rootfs/lib\'\n'
        + "[variables]\nTEXT = '''"
        + TEXTS["lib.c"]
        + TEXTS["fix.patch"]
        + TEXTS["folder/a"]
        + "'''\n[tasks.image]\nfrom = ['rootfs']\noutputdir = 'deploy'\nscript = 'true'\n"
    )
    tiny = build_project(tmp_path, {**TEXTS, "lib.toml": lib, "image.toml": image})
    origins = origins_in(graph_of(tiny), "image:rootfs")
    assert origins["rootfs/archive"] == ("lib:pack", "packed/archive")
    assert origins["rootfs/lib"] == ("lib:make", "made")


def test_manual_changes_are_origins_of_their_own(tmp_path: Path) -> None:
    tiny = build_project(tmp_path)
    (workdir,) = tmp_path.glob("build/work/*/lib/unpack")
    (workdir / "by-hand").write_text("written by a person, not by a task\n")
    lib = TEXTS["lib.toml"].replace("cp made image/usr/lib", "cp made image/usr/lib; echo changed")
    tiny.build({**TEXTS, "lib.toml": lib}, "image")
    graph = graph_of(tiny)
    run = run_of(graph, "lib:stage")
    start = graph.start(run)
    assert start is not None
    names = [os.fsdecode(entry.name) for entry in tiny.store.objects.tree(start)]
    assert "by-hand" not in names  # a task starts from its predecessor's recorded state
    assert origins_in(graph, "image:rootfs")["rootfs/usr/lib"] == ("lib:make", "made")
