"""`prov blame`."""

from __future__ import annotations

import pytest

from tests.cli.story import Project, in_order

pytestmark = pytest.mark.process


def test_blame_names_patches(chain: Project) -> None:
    answer = chain.ask("blame", "x:patch@workdir/src/word")
    in_order(
        answer,
        next(
            line.strip()
            for line in answer.splitlines()
            if "x:patch rewrote src/word by 0001-fix.patch" in line
        ),
    )
    assert chain.json("blame", "x:patch@workdir/src/word")["steps"][0]["patches"] == [
        "0001-fix.patch"
    ]
    lines = chain.json("blame", "--lines", "out/word")["lines"]
    assert [(line["text"], line["from"]) for line in lines] == [
        ("one", "x:fetch"),
        ("2", "x:patch 0001-fix.patch"),
        ("three", "x:fetch"),
    ]


STAMP = """
[tasks.stamp]
after = ["install"]
script = 'echo "stamped" >> "$D/usr/share/doc/hello/usage.txt"'
outputdir = "image"

[tasks.package]
from = ["stamp", "@depends:packagedata"]
"""


def test_blame_of_a_header_in_a_sysroot_leads_to_its_source(story: Project) -> None:
    name = "hello:compile@sysroot/usr/include/greet.h"
    answer = story.json("blame", name)
    assert [step["task"] for step in answer["steps"]] == [
        "greet:populate_sysroot",
        "greet:install",
        "greet:unpack",
        "greet:fetch",
    ]
    assert (answer["steps"][-1]["what"], answer["steps"][-1]["path"]) == (
        "made",
        "sources/greet/greet.h",
    )
    assert list(answer["sources"]) == ["greet"]
    text = story.ask("blame", name)
    assert "greet:install copied image/usr/include/greet.h from greet/greet.h" in text
    assert f"source greet  {answer['sources']['greet']}" in text
    assert (
        story.ask(
            "blame", "build/work/x86_64/hello/unpack/recipe-sysroot/usr/include/greet.h"
        ).count("greet:")
        >= 4
    )


def test_blame_lines_names_the_build_of_each_line(story: Project) -> None:
    name = "greet:populate_sysroot@output/sysroot-destdir/usr/include/greet.h"
    first = story.git("rev-parse", "builds").strip()
    story.edit(
        "recipes/greet/greet/greet.h", "unsigned how);", "unsigned how);\nvoid greet_all(void);"
    )
    story.prov("build", "demo-image")
    second = story.git("rev-parse", "builds").strip()
    rows = story.json("blame", "--lines", name)["lines"]
    assert {row["text"]: row["build"] for row in rows if "void" in row["text"]} == {
        "void greet(const char *whom, unsigned how);": first,
        "void greet_all(void);": second,
    }
    [line] = [
        line for line in story.ask("blame", "--lines", name).splitlines() if "greet_all" in line
    ]
    assert line.startswith(second[:12])
    assert story.json("blame", name)["since"] == second
    assert [row["build"] for row in story.json("log", "usr/include/greet.h")["versions"]] == [
        second,
        first,
    ]


def test_blame_lists_all_writers_of_a_file_newest_first(story: Project) -> None:
    story.append("recipes/hello/hello.toml", STAMP)
    story.prov("build", "demo-image")
    answer = story.json("blame", "hello:stamp@output/image/usr/share/doc/hello/usage.txt")
    assert [(step["task"], step["what"]) for step in answer["steps"]] == [
        ("hello:stamp", "rewrote"),
        ("hello:install", "copied"),
        ("hello:unpack", "copied"),
        ("hello:fetch", "made"),
    ]
    lines = story.ask("blame", "usr/share/doc/hello/usage.txt").splitlines()
    assert [line.split()[:2] for line in lines[2:5]] == [
        ["hello:package", "copied"],
        ["hello:stamp", "rewrote"],
        ["hello:install", "copied"],
    ]
    assert story.ask("diff", "hello:stamp") == "M image/usr/share/doc/hello/usage.txt\n"


def test_program_of_an_image_is_traced_to_its_compile_task(story: Project) -> None:
    answer = story.json("blame", "usr/bin/hello")
    assert answer["file"] == "demo-image:rootfs@output/rootfs/usr/bin/hello"
    assert [step["task"] for step in answer["steps"]] == [
        "demo-image:rootfs",
        "hello:package",
        "hello:install",
        "hello:compile",
    ]


def test_deployed_file_is_named_by_its_path(story: Project) -> None:
    answer = story.json("blame", "build/deploy/images/demo/demo-image-demo.manifest")
    assert [step["task"] for step in answer["steps"]] == ["demo-image:image", "demo-image:rootfs"]
    text = story.ask("log", str(story.root / "build/deploy/deb/hello_1.2_amd64.deb"))
    assert "hello:package_deb@output/deploy-deb/deb/hello_1.2_amd64.deb" in text
    assert "deb/nothing not found in any output of the last build" in story.refused(
        "blame", "build/deploy/deb/nothing"
    )


def test_path_is_found_when_the_last_build_lacks_it(story: Project) -> None:
    answer = story.json("blame", "usr/bin/hello")
    story.prov("build", "words:fetch")
    assert story.json("blame", "usr/bin/hello") == answer
    story.edit("recipes/words/words/words.c", "return", "retrun")
    story.prov("build", "demo-image", code=1)
    assert story.json("blame", "usr/bin/hello") == answer
    assert [row["build"] for row in story.json("log", "usr/bin/hello")["versions"]] == [
        answer["since"]
    ]


def test_program_of_an_image_leads_to_the_sources_and_headers_of_its_objects(
    story: Project,
) -> None:
    story.prov("build", "demo-image", "--set", "hello:CFLAGS=-O0 -MD")
    in_order(
        story.ask("blame", "usr/bin/hello"),
        "unit hello/hello.o  hello/hello.d",
        "hello/hello.c",
        "/build/sysroot/usr/include/greet.h  from greet:populate_sysroot",
        "unit hello/usage.o  hello/usage.d",
        "hello/usage.c",
    )
    units = story.json("blame", "usr/bin/hello")["units"]
    assert [unit["made"] for unit in units] == ["hello/hello.o", "hello/usage.o"]
    assert "/usr/include/stdio.h" in [read["path"] for read in units[0]["read"]]
