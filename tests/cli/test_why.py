"""`prov why`."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cli.changes import CLOCK, causes, grouped, harden
from tests.cli.contents import build
from tests.cli.story import Project, in_order

pytestmark = pytest.mark.process


def test_task_is_compared_with_a_label_a_tag_or_another_store(two: Project, tmp_path: Path) -> None:
    other = Project(tmp_path / "other")
    subprocess.run(["cp", "-a", two.root, other.root], check=True)
    build(other, "elsewhere")
    two.prov("label", "good", "latest~1")
    for against in ("good", "latest~1"):
        in_order(
            two.ask("why", "a:go", "--against", against),
            "a:go",
            "script",
            "-echo one > out/x",
            "+echo two > out/x",
        )
    for against in (str(other.root), f"{other.root}/.prov"):
        text = two.ask("why", "a:go", "--against", against)
        in_order(text, "-echo elsewhere > out/x", "+echo two > out/x")
        assert f"of {against}:" in text
    [cause] = two.json("why", "a:go", "--against", str(other.root))["causes"]
    assert [(change["kind"], change["name"]) for change in cause["changes"]] == [("script", "")]


def test_task_is_compared_with_a_tag(two: Project) -> None:
    tags = [run["tag"] for run in two.json("log", "a:go")["runs"]]
    for against in tags:
        changed = "-echo one > out/x" in two.ask("why", "a:go", "--against", against)
        assert changed == ("one" in two.git("show", f"{against}:out/x"))


def test_identical_inputs_are_not_a_cause(two: Project) -> None:
    for against in ("latest", two.tag("a:go"), str(two.root)):
        answer = two.json("why", "a:go", "--against", against)
        assert answer["causes"] == []
        assert "inputs unchanged since " in two.ask("why", "a:go", "--against", against)


def test_different_output_from_identical_inputs_is_named(small: Project) -> None:
    small.task("date +%s%N > out/x")
    small.prov("build", "a")
    small.prov("build", "-f", "a:go", "a")
    small.prov("build", "a")
    second, first = small.git("log", "--format=%h", "--abbrev=12", "builds~1").split()
    in_order(
        small.ask("why", "a:go"),
        f"a:go ran in build {second}",
        f"compared with build {first}:",
        "produced a different output from identical inputs",
    )


def test_failed_task_would_run_again(small: Project) -> None:
    small.task("echo 1 > out/x")
    small.prov("build", "a:go")
    small.edit("recipes/a.toml", "echo 1", "exit 3; echo 1")
    small.prov("build", "a:go", code=1)
    answer = small.ask("why", "a:go")
    assert (
        answer.startswith("a:go would run: it failed in build ")
        and "with identical inputs" in answer
    )
    assert "failed in build" in small.ask("why", "latest/a:go")
    small.edit("recipes/a.toml", "exit 3", "exit 4")
    answer = small.ask("why", "a:go")
    assert "would run: changed: script" in answer and "+exit 4; echo 1 > out/x" in answer


def test_task_runs_to_restore_a_collected_workdir(chain: Project) -> None:
    for tag in chain.git("tag").split():  # as gc does for runs that no other ref holds
        chain.git("update-ref", f"refs/prov/record/{tag}", f"{tag}^2")
        chain.git("update-ref", "-d", f"refs/tags/{tag}")
    chain.edit("recipes/x.toml", "cat src", "cat  src")
    assert "its WORKDIR was collected, and x:patch starts from it" in chain.ask("plan", "x:go")
    assert "x:patch would run: its WORKDIR was collected, and x:go starts from it" in chain.ask(
        "why", "x:patch"
    )
    chain.prov("build", "x:go")
    answer = chain.ask("why", "latest/x:patch")
    assert (
        "ran in build" in answer
        and "with the inputs of build" in answer
        and "its WORKDIR was collected" in answer
    )


def test_forced_task_is_named(chain: Project) -> None:
    chain.prov("build", "--force", "x:go", "x:go")
    answer = chain.ask("why", "latest/x:go")
    assert "with the inputs of build" in answer and answer.rstrip().splitlines()[0].endswith(
        ": forced"
    )


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


def test_flag_in_a_class_is_named_before_anything_is_built(story: Project) -> None:
    harden(story)
    text = story.ask("why", "demo-image:image")
    in_order(
        text,
        "demo-image:image may run, unless demo-image:rootfs is unchanged",
        "greet:install",
        "variable CFLAGS",
        "--O2 ${DEBUG_PREFIX_MAP}",
        "+-O1 ${DEBUG_PREFIX_MAP}",
    )
    assert text.count("variable CFLAGS") == 1
    assert "also in hello:install, words:install, greet:compile and 5 more" in text
    changes = causes(story.json("why", "demo-image:image"))
    assert {(kind, name) for _, kind, name in changes} == {("variable", "CFLAGS")}
    assert {key.partition(":")[0] for key, _, _ in changes} == {"words", "greet", "hello"}


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
    assert [(cause["kind"], cause["name"]) for cause in answer["causes"]] == [("host tools", "")]
    assert file in answer["causes"][0]["diff"]
    assert "words:compile" in answer["causes"][0]["tasks"]
    assert causes(story.json("why", "words:compile"))[0] == ("words:compile", "host tools", "")
    in_order(story.ask("diff", "latest"), "root causes:", "host tools", file)


def test_updated_dependency_is_shown_with_both_versions_and_the_chain(story: Project) -> None:
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


def test_removed_dependency_is_a_cause(story: Project) -> None:
    story.edit("recipes/hello/hello.toml", 'depends_native = ["embed"]\n', "")
    story.edit(
        "recipes/hello/hello/Makefile",
        "embed usage < usage.txt > $@",
        "echo 'const char usage[] = \"\";' > $@",
    )
    removal = "dependency needs embed-native:populate_sysroot removed"
    in_order(
        story.ask("why", "hello:compile"),
        "hello:compile",
        removal,
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
        "removed recipes: embed-native",
        "root causes:",
        removal,
    )
    assert ("hello:compile", "dependency", "needs embed-native:populate_sysroot") in causes(
        story.json("why", "hello:compile")
    )


def test_changed_header_is_a_cause_for_its_users(story: Project) -> None:
    story.edit("recipes/greet/greet/greet.h", "unsigned how);", "unsigned how); /* 0 and up */")
    assert "hello:compile ran" in story.prov("build", "demo-image").stderr
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


def test_failed_compile_is_shown_with_the_changed_line(story: Project) -> None:
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
    assert [task["task"] for task in answer["tasks"] if task["failed"]] == ["hello:compile"]
    assert grouped(answer) == {("source", "hello"): ["hello:fetch"]}
    assert answer["recipes"] == {
        "versions": {},
        "added": [],
        "removed": [],
    }  # the image was not built


def test_fixed_compile_is_compared_with_the_failed_one(story: Project) -> None:
    story.edit("recipes/hello/hello/hello.c", "return 0;", "return zero;")
    story.prov("build", "demo-image", code=1)
    story.edit("recipes/hello/hello/hello.c", "return zero;", "return (0);")
    in_order(story.ask("why", "hello:compile"), "-\treturn 0;", "+\treturn (0);")
    story.prov("build", "demo-image")
    in_order(story.ask("why", "hello:compile"), "-\treturn zero;", "+\treturn (0);")
    assert story.json("diff", "latest")["recipes"]["added"] == []
    assert "failed" not in story.ask("diff", "latest")
    in_order(story.ask("diff", "latest~2", "latest"), "-\treturn 0;", "+\treturn (0);")


def test_failure_with_identical_inputs_is_a_cause(small: Project) -> None:
    flag = small.write("flag", "there\n")
    small.task(f"cat {flag} > out/x")
    small.prov("build", "a")
    flag.unlink()
    small.prov("build", "-f", "a:go", "a", code=1)
    in_order(
        small.ask("diff", "latest"),
        "root causes:",
        "a:go failed with identical inputs",
        "failed: a:go",
    )
    assert causes(small.json("why", "a:go")) == []
    text = small.ask("why", "a:go")
    assert text.startswith("a:go failed in build ") and "inputs unchanged since build" in text


def test_dependents_of_an_irreproducible_task_name_it(story: Project) -> None:
    story.append("recipes/greet/greet.toml", CLOCK)
    story.prov("build", "demo-image")
    story.prov("build", "-f", "greet:install", "demo-image")
    same = ("greet:install", "produced a different output from identical inputs")
    in_order(
        story.ask("why", "hello:compile"),
        *same,
        "through greet:populate_sysroot -> hello:compile",
    )
    assert causes(story.json("why", "hello:compile")) == [("greet:install", "same inputs", "")]
    in_order(story.ask("diff", "latest"), "root causes:", " ".join(same))
    assert grouped(story.json("diff", "latest")) == {("same inputs", ""): ["greet:install"]}
