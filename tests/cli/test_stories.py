"""Something changes in the demo, it is built, and prov is asked what happened: the answers that
must come out.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from tests.cli.story import Project, in_order

PATCH = """\
--- a/greet.c
+++ b/greet.c
@@ -5,5 +5,5 @@

 void greet(const char *whom, unsigned how)
 {
-\tprintf("%s, %s\\n", words_get(how), whom);
+\tprintf("%s, %s!\\n", words_get(how), whom);
 }
"""
STAMP = """
[tasks.stamp]
after = ["install"]
script = 'echo "stamped" >> "$D/usr/share/doc/hello/usage.txt"'
outputdir = "image"

[tasks.package]
from = ["stamp", "@depends:packagedata"]
"""
CLOCK = """
[tasks.install]
script = '''
oe_runmake DESTDIR="$D" install
echo "/* $(date +%s%N) */" > "$D/usr/include/greet_when.h"
'''
"""


def causes(answer: Any) -> list[tuple[str, str, str]]:
    """Return task, kind and name of each change that `prov why --json` gives for a cause."""
    return [
        (cause["task"], each["kind"], each["name"])
        for cause in answer["causes"]
        for each in cause["changes"]
    ]


def grouped(answer: Any) -> dict[tuple[str, str], list[str]]:
    """Return the root causes of `prov diff --json`, by kind and name."""
    return {(each["kind"], each["name"]): each["tasks"] for each in answer["causes"]}


# flags, patches, tools, versions


def harden(story: Project) -> None:
    story.write("classes/harden.toml", "[variables]\nCFLAGS = '-O1 ${DEBUG_PREFIX_MAP}'\n")
    for recipe in ("words", "greet", "hello"):
        story.edit(
            f"recipes/{recipe}/{recipe}.toml", 'inherit = ["make"', 'inherit = ["harden", "make"'
        )


def test_flag_in_a_class_is_named_before_anything_is_built(story: Project) -> None:
    harden(story)
    text = story.ask("why", "demo-image:image")
    in_order(
        text,
        "demo-image:image may run, unless demo-image:rootfs comes out the same",
        "greet:install",
        "variable CFLAGS",
        "--O2 ${DEBUG_PREFIX_MAP}",
        "+-O1 ${DEBUG_PREFIX_MAP}",
    )
    assert text.count("variable CFLAGS") == 1
    assert "and the same in hello:install, words:install, greet:compile and 5 more" in text
    found = causes(story.json("why", "demo-image:image"))
    assert {(kind, name) for _, kind, name in found} == {("variable", "CFLAGS")}
    assert {key.partition(":")[0] for key, _, _ in found} == {"words", "greet", "hello"}


def test_flag_in_a_class_is_one_cause_of_a_build(story: Project) -> None:
    harden(story)
    story.prov("build", "demo-image")
    answer = story.json("diff", "latest")
    tasks = [
        f"{recipe}:{task}"
        for recipe in ("greet", "hello", "words")
        for task in ("compile", "configure", "install")
    ]
    assert grouped(answer) == {("variable", "CFLAGS"): tasks}
    assert {each["task"] for each in answer["tasks"] if each["root_cause"]} == set(tasks)
    text = story.ask("diff", "latest")
    in_order(
        text,
        "root causes:",
        "variable CFLAGS",
        "in greet:compile, greet:configure, greet:install and 6 more",
    )
    assert "followed: 12 tasks: demo-image:image, demo-image:rootfs" in text


def test_added_patch_is_named_and_shown(story: Project) -> None:
    story.write("recipes/greet/loud.patch", PATCH)
    story.edit("recipes/greet/greet.toml", "[variables]", 'patches = ["loud.patch"]\n\n[variables]')
    shown = (
        "greet:patch",
        "patch 0001-loud.patch added",
        '++\tprintf("%s, %s!\\n", words_get(how), whom);',
    )
    in_order(story.ask("why", "demo-image:image"), *shown)
    [cause] = story.json("why", "demo-image:image")["causes"]
    assert cause["chain"][:2] == ["greet:patch", "greet:configure"]
    story.prov("build", "demo-image")
    in_order(story.ask("diff", "latest"), "root causes:", *shown[1:], "in greet:patch")
    assert grouped(story.json("diff", "latest")) == {("patch", "0001-loud.patch"): ["greet:patch"]}
    in_order(story.ask("why", "demo-image:image"), *shown)


def test_replaced_host_tool_is_the_first_cause_and_its_file_is_named(
    story: Project, tmp_path: Path
) -> None:
    wrapper = tmp_path / "bin/make"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\nexec {shutil.which("make")} "$@"\n')
    wrapper.chmod(0o755)
    story.environment["PATH"] = f"{wrapper.parent}:/usr/bin:/bin"
    file = f"A {str(wrapper).removeprefix('/')}"
    in_order(
        story.ask("why", "words:compile"),
        "words:compile would run: changed: host-toolchain",
        "host tools",
        file,
    )
    story.prov("build", "--sandbox", "none", "demo-image")
    answer = story.json("diff", "latest")
    assert [(each["kind"], each["name"]) for each in answer["causes"]] == [("host tools", "")]
    assert file in answer["causes"][0]["diff"]
    assert "words:compile" in answer["causes"][0]["tasks"]
    assert causes(story.json("why", "words:compile"))[0] == ("words:compile", "host tools", "")
    in_order(story.ask("diff", "latest"), "root causes:", "host tools", file)


def test_bumped_dependency_tells_both_versions_and_the_way_to_it(story: Project) -> None:
    story.edit("recipes/words/words.toml", 'version = "1.0"', 'version = "1.1"')
    story.edit("recipes/words/words/words.c", '"hi"', '"hey"')
    text = story.ask("why", "hello:compile")
    in_order(text, "words:fetch  (version 1.0 -> 1.1)", "source words", "M words.c")
    assert "words:populate_sysroot -> hello:compile" in text
    story.prov("build", "demo-image")
    in_order(
        story.ask("diff", "latest"),
        "version of words: 1.0 -> 1.1",
        "root causes:",
        "source words",
        "variable PV",
    )
    assert story.json("diff", "latest")["recipes"] == {
        "versions": {"words": ["1.0", "1.1"]},
        "added": [],
        "removed": [],
    }
    [cause] = story.json("why", "greet:compile")["causes"]
    assert (cause["task"], cause["version"]) == ("words:fetch", ["1.0", "1.1"])
    assert (cause["chain"][0], cause["chain"][-1]) == ("words:fetch", "greet:compile")


def test_removed_dependency_is_told_as_one(story: Project) -> None:
    story.edit("recipes/hello/hello.toml", 'depends_native = ["embed"]\n', "")
    story.edit(
        "recipes/hello/hello/Makefile",
        "embed usage < usage.txt > $@",
        "echo 'const char usage[] = \"\";' > $@",
    )
    gone = "dependency needs embed-native:populate_sysroot removed"
    in_order(
        story.ask("why", "hello:compile"),
        "hello:compile",
        gone,
        "hello:fetch",
        "source hello",
        "M Makefile",
    )
    story.prov("build", "demo-image")
    answer = story.json("diff", "latest")
    assert grouped(answer)["dependency", "needs embed-native:populate_sysroot"] == [
        "hello:compile",
        "hello:configure",
        "hello:install",
    ]
    assert answer["recipes"]["removed"] == ["embed-native"]
    in_order(
        story.ask("diff", "latest"),
        "recipes that are not in it: embed-native",
        "root causes:",
        gone,
    )
    assert ("hello:compile", "dependency", "needs embed-native:populate_sysroot") in causes(
        story.json("why", "hello:compile")
    )


# files


def test_changed_header_is_why_those_that_only_see_it_ran(story: Project) -> None:
    story.edit("recipes/greet/greet/greet.h", "unsigned how);", "unsigned how); /* 0 and up */")
    said = story.prov("build", "demo-image").stderr
    assert "hello:compile ran" in said
    changed = (
        "greet:fetch",
        "source greet",
        "M greet.h",
        "+void greet(const char *whom, unsigned how); /* 0 and up */",
    )
    in_order(story.ask("why", "hello:compile"), *changed)
    [cause] = story.json("why", "hello:compile")["causes"]
    assert cause["chain"][-2:] == ["greet:populate_sysroot", "hello:compile"]
    assert grouped(story.json("diff", "latest")) == {("source", "greet"): ["greet:fetch"]}


def test_blame_of_a_header_in_a_sysroot_leads_to_its_source(story: Project) -> None:
    name = "hello:compile@sysroot/usr/include/greet.h"
    answer = story.json("blame", name)
    assert [each["task"] for each in answer["steps"]] == [
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


def test_blame_tells_line_by_line_which_build_brought_it(story: Project) -> None:
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


def test_blame_lists_all_tasks_that_wrote_a_file_the_last_first(story: Project) -> None:
    story.append("recipes/hello/hello.toml", STAMP)
    story.prov("build", "demo-image")
    answer = story.json("blame", "hello:stamp@output/image/usr/share/doc/hello/usage.txt")
    assert [(each["task"], each["what"]) for each in answer["steps"]] == [
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


def test_program_of_an_image_leads_to_the_task_that_compiled_it(story: Project) -> None:
    answer = story.json("blame", "usr/bin/hello")
    assert answer["file"] == "demo-image:rootfs@output/rootfs/usr/bin/hello"
    assert [each["task"] for each in answer["steps"]] == [
        "demo-image:rootfs",
        "hello:package",
        "hello:install",
        "hello:compile",
    ]


def test_deployed_file_is_named_by_where_it_is(story: Project) -> None:
    answer = story.json("blame", "build/deploy/images/demo/demo-image-demo.manifest")
    assert [each["task"] for each in answer["steps"]] == ["demo-image:image", "demo-image:rootfs"]
    text = story.ask("log", str(story.root / "build/deploy/deb/hello_1.2_amd64.deb"))
    assert "hello:package_deb@output/deploy-deb/deb/hello_1.2_amd64.deb" in text
    assert "no output of the last build has deb/nothing" in story.refused(
        "blame", "build/deploy/deb/nothing"
    )


def test_path_is_found_though_the_last_build_had_another_target_or_failed(story: Project) -> None:
    answer = story.json("blame", "usr/bin/hello")
    story.prov("build", "words:fetch")
    assert story.json("blame", "usr/bin/hello") == answer
    story.edit("recipes/words/words/words.c", "return", "retrun")
    story.prov("build", "demo-image", code=1)
    assert story.json("blame", "usr/bin/hello") == answer
    assert [row["build"] for row in story.json("log", "usr/bin/hello")["versions"]] == [
        answer["since"]
    ]


# failures, and what is not the same twice


def test_failed_compile_is_told_with_the_line_that_broke_it(story: Project) -> None:
    story.edit("recipes/hello/hello/hello.c", "return 0;", "return zero;")
    story.prov("build", "demo-image", code=1)
    broken = ("hello:fetch", "source hello", "M hello.c", "-\treturn 0;", "+\treturn zero;")
    for name in ("hello:compile", "demo-image:image"):
        in_order(story.ask("why", name), *broken)
    assert story.ask("why", "hello:compile", "--build", "latest").startswith(
        "hello:compile failed in build "
    )
    in_order(
        story.ask("diff", "latest"),
        "root causes:",
        *broken[1:],
        "in hello:fetch",
        "failed: hello:compile",
    )
    answer = story.json("diff", "latest")
    assert [each["task"] for each in answer["tasks"] if each["failed"]] == ["hello:compile"]
    assert grouped(answer) == {("source", "hello"): ["hello:fetch"]}
    assert answer["recipes"] == {
        "versions": {},
        "added": [],
        "removed": [],
    }  # the image was not come to


def test_mended_compile_is_told_against_the_one_that_failed(story: Project) -> None:
    story.edit("recipes/hello/hello/hello.c", "return 0;", "return zero;")
    story.prov("build", "demo-image", code=1)
    story.edit("recipes/hello/hello/hello.c", "return zero;", "return (0);")
    in_order(story.ask("why", "hello:compile"), "-\treturn 0;", "+\treturn (0);")
    story.prov("build", "demo-image")
    in_order(story.ask("why", "hello:compile"), "-\treturn zero;", "+\treturn (0);")
    assert story.json("diff", "latest")["recipes"]["added"] == []
    assert "failed" not in story.ask("diff", "latest")
    in_order(story.ask("diff", "latest~2", "latest"), "-\treturn 0;", "+\treturn (0);")


def test_failure_with_the_same_inputs_is_told_as_one(small: Project) -> None:
    flag = small.write("flag", "there\n")
    small.task(f"cat {flag} > out/x")
    small.prov("build", "a")
    flag.unlink()
    small.prov("build", "-f", "a:go", "a", code=1)
    in_order(
        small.ask("diff", "latest"),
        "root causes:",
        "a:go failed with the same inputs",
        "failed: a:go",
    )
    assert causes(small.json("why", "a:go")) == []
    text = small.ask("why", "a:go")
    assert text.startswith("a:go failed in build ") and "its inputs are those of build" in text


def test_dependents_of_what_is_not_the_same_twice_are_told_so(story: Project) -> None:
    story.append("recipes/greet/greet.toml", CLOCK)
    story.prov("build", "demo-image")
    story.prov("build", "-f", "greet:install", "demo-image")
    same = ("greet:install", "gave another output for the same inputs")
    in_order(
        story.ask("why", "hello:compile"),
        *same,
        "by way of greet:populate_sysroot -> hello:compile",
    )
    assert causes(story.json("why", "hello:compile")) == [("greet:install", "same inputs", "")]
    in_order(story.ask("diff", "latest"), "root causes:", " ".join(same))
    assert grouped(story.json("diff", "latest")) == {("same inputs", ""): ["greet:install"]}
