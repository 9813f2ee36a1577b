"""`prov bisect` as a user runs it: over builds that were made, with a command that judges what is
checked out.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from math import ceil, log2
from pathlib import Path
from typing import Any

import pytest

from prov.records.keys import TaskKey
from tests.history.tiny import Texts, Tiny
from tests.schema.check import read_answer
from tests.terminal import Terminal

pytestmark = pytest.mark.process

PROV = str(Path(sys.executable).with_name("prov"))
IMAGE = """
version = "1"
[variables]
FORMAT = "1"
[tasks.image]
from = [{takes}]
outputdir = "out"
script = '''
while [ -e {root}/hang ]; do echo > {root}/hung; sleep 0.05; done
cat give/* > out/all; echo "format $FORMAT" >> out/all
'''
"""


def gives(value: object = 0, script: str = 'echo "$PN $VALUE" > give/$PN') -> str:
    """Return a recipe that gives a text with a value in it."""
    return (
        f"version = '1'\n[variables]\nVALUE = '{value}'\n[tasks.give]\noutputdir = 'give'\nscript ="
        f" '''{script}'''\n"
    )


class Story(Tiny):
    """Recipes that each give a text, an image of all of them, and builds of it."""

    def image(self, *names: str) -> str:
        return IMAGE.format(takes=", ".join(f'"{name}:give"' for name in names), root=self.root)

    def of(self, count: int) -> dict[str, str]:
        """Return so many recipes, r0 and on, with their image."""
        names = [f"r{number}" for number in range(count)]
        return {f"{name}.toml": gives() for name in names} | {"image.toml": self.image(*names)}

    def built(
        self, texts: Texts, *targets: str, ok: bool = True, force: tuple[str, ...] = ()
    ) -> str:
        """Build the image, or other targets, and return the build's id."""
        self.build(texts, *(targets or ("image:image",)), ok=ok, force=force)
        return self.latest().commit.hex()

    def judge(self, bad: str, *, before: str = "") -> Path:
        """Write a command that says `bad` by a shell's test of $all, and keeps what it was asked
        about.
        """
        path = self.root / "judge.sh"
        kept = 'echo "$(cat $1/out/all | tr "\\n" ,)" >> asked'
        wait = "while [ -e hold ]; do echo > held; sleep 0.05; done"
        path.parent.mkdir(exist_ok=True)
        path.write_text(
            f"#!/bin/sh\nall=$1/out/all\n{wait}\n{before}\n{kept}\nif {bad}; then exit 1; fi\n"
        )
        path.chmod(0o755)
        return path

    def asked(self) -> list[str]:
        path = self.root / "asked"
        return path.read_text().splitlines() if path.exists() else []

    def run(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [PROV, *arguments], cwd=self.root, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, (
            f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return done

    def find(
        self, good: str, bad: str, *more: str, command: Sequence[str] = ("./judge.sh",)
    ) -> Any:
        """Bisect and return the answer."""
        return read_answer(
            self.run("bisect", "start", good, bad, "--json", *more, "--", *command).stdout
        )

    def refused(self, *arguments: str, code: int = 1) -> str:
        """Return what is said where the command can't do what it is told, in one line and a
        hint.
        """
        said = self.run("bisect", *arguments, code=code).stderr
        assert "Traceback" not in said
        return said

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """Begin a bisection that can be interrupted as by a terminal."""
        return subprocess.Popen(
            [PROV, "bisect", *arguments],
            cwd=self.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def wait_for(self, name: str) -> None:
        for _ in range(400):
            if (self.root / name).exists():
                return
            time.sleep(0.05)
        raise AssertionError(f"there is no {name}")

    def tags(self) -> set[str]:
        return set(self.store.refs.list("refs/tags/"))

    def git(self, *arguments: str) -> str:
        """Run git in `upstream`, beside the recipes."""
        folder = self.root / "upstream"
        folder.mkdir(exist_ok=True)
        names = ["-c", "user.name=x", "-c", "user.email=x@x"]
        done = subprocess.run(
            ["git", *names, *arguments], cwd=folder, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(tmp_path / "story")


def causes(answer: Any, which: str = "causes") -> list[tuple[str, str, str]]:
    """Return kind, name and task of each."""
    return sorted(
        (each["kind"], each["name"], task) for each in answer[which] for task in each["tasks"]
    )


def value(recipe: str) -> tuple[str, str, str]:
    return ("variable", "VALUE", f"{recipe}:give")


# one change


def test_among_many_builds_one_change_is_found(story: Story) -> None:
    texts = story.of(30)
    builds = [story.built(texts)]
    for number in range(1, 64):
        name = f"r{number * 7 % 30}"
        texts[f"{name}.toml"] = gives("broken" if number == 41 else number)
        if number > 41 and name == "r17":
            texts["r17.toml"] = gives(f"broken {number}")
        builds.append(story.built(texts))
    before = story.tags()
    story.judge("grep -q broken $all")
    answer = story.find(builds[0], builds[-1])
    assert (answer["good"], answer["bad"]) == (builds[40], builds[41])
    assert causes(answer) == [value("r17")]
    assert answer["earlier"] == []
    assert answer["checkouts"] <= ceil(log2(64)) + 1
    assert len(story.asked()) == answer["checkouts"]
    assert answer["sentence"] == f"variable VALUE in r17:give broke it in build {builds[41][:12]}"
    # only what is new runs, and only once
    assert before <= story.tags()
    assert {tag.rpartition("/")[2] for tag in story.tags()} == {"1"}
    assert {tag.split("/")[2] for tag in story.tags() - before} <= {"image"}
    assert len(story.latest().commit) == len(bytes.fromhex(builds[-1]))
    assert story.latest().commit.hex() == builds[-1]


def test_who_builds_does_not_see_that_somebody_bisected(story: Story) -> None:
    texts = story.of(4)
    good = story.built(texts)
    bad = story.built(texts | {f"r{number}.toml": gives(1) for number in range(4)})
    story.judge("grep -q 'r2 1' $all")
    refs = story.store.refs.list("refs/")
    cached = sorted(str(path) for path in (story.store.cache / "sysroots").glob("*"))
    assert causes(story.find(good, bad)) == [value("r2")]
    new = story.store.refs.list("refs/").items() - refs.items()
    assert {name.split("/")[1] for name, _ in new} == {
        "prov",
        "tags",
    }  # what was built is recorded, and no more
    assert not [name for name, _ in new if "/aside/" in name or "/workdir/" in name]
    assert sorted(str(path) for path in (story.store.cache / "sysroots").glob("*")) == cached
    assert not list((story.store.cache / "aside").glob("*/work"))


def test_the_answer_in_words(story: Story) -> None:
    texts = story.of(3)
    good = story.built(texts)
    bad = story.built(texts | {"r1.toml": gives(1), "r2.toml": gives(1)})
    story.judge("grep -q 'r2 1' $all", before="echo noise")
    done = story.run("bisect", "start", good, bad, "./judge.sh")
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert lines == [
        "variable VALUE in r2:give",
        "@@ -1 +1 @@",
        "-0",
        "+1",
        f"variable VALUE in r2:give broke it in build {bad[:12]}",
    ]
    assert "noise" in done.stderr


# together


def test_two_changes_in_one_build_are_bad_together_alone(story: Story) -> None:
    texts = story.of(8)
    good = story.built(texts)
    bad = story.built(texts | {f"r{number}.toml": gives(1) for number in range(8)})
    story.judge("grep -q 'r2 1' $all && grep -q 'r5 1' $all")
    answer = story.find(good, bad)
    assert causes(answer) == [value("r2"), value("r5")]
    assert len(set(story.asked())) == len(story.asked()) == answer["checkouts"]
    assert answer["sentence"] == f"variable VALUE in r2:give, r5:give broke it in build {bad[:12]}"


def test_two_changes_in_two_builds_are_bad_together_alone(story: Story) -> None:
    texts = story.of(8)
    builds = [story.built(texts)]
    for number in range(8):
        texts[f"r{number}.toml"] = gives(1)
        builds.append(story.built(texts))
    story.judge("grep -q 'r2 1' $all && grep -q 'r5 1' $all")
    answer = story.find(builds[0], builds[-1])
    assert (answer["bad"], causes(answer), causes(answer, "earlier")) == (
        builds[6],
        [value("r5")],
        [value("r2")],
    )
    assert answer["sentence"].endswith(", together with variable VALUE in r2:give")
    assert len(set(story.asked())) == len(story.asked())
    alone = story.find(builds[0], builds[-1], "--no-combination")
    assert (causes(alone), causes(alone, "earlier")) == ([value("r5")], [])


def test_of_two_things_that_an_image_takes_the_bad_one_is_named(story: Story) -> None:
    more = {"a.toml": gives(), "z.toml": gives("bad")}
    good = story.built(story.of(2) | more)
    bad = story.built(story.of(2) | more | {"image.toml": story.image("r0", "r1", "a", "z")})
    story.judge("grep -q bad $all")
    assert causes(story.find(good, bad)) == [("dependency", "from z:give", "image:image")]


# going on


@pytest.fixture(scope="module")
def twelve_once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    story = Story(tmp_path_factory.mktemp("twelve") / "story")
    texts = story.of(3)
    return story.root, [story.built(texts | {"r1.toml": gives(number)}) for number in range(12)]


@pytest.fixture
def builds(story: Story, twelve_once: tuple[Path, list[str]]) -> list[str]:
    """Twelve builds that the story has, r1's value going up."""
    shutil.copytree(twelve_once[0], story.root, symlinks=True)
    return twelve_once[1]


BAD_FROM_8 = "[ $(sed -n 's/^r1 //p' $all) -ge 8 ]"


@pytest.mark.parametrize("how", ["^C", "^C of prov alone", "kill -9"])
def test_who_was_interrupted_goes_on_and_is_asked_nothing_twice(
    story: Story, builds: list[str], how: str
) -> None:
    story.judge(BAD_FROM_8)
    (story.root / "judge.sh").write_text(
        (story.root / "judge.sh")
        .read_text()
        .replace("while", "[ ! -e asked ] || [ -e on ] || touch hold\nwhile", 1)
    )
    running = story.begin("start", builds[0], builds[-1], "./judge.sh")
    story.wait_for("held")
    for words in ("continue", "reset"):
        assert "another process is bisecting" in story.refused(words)
    if how == "kill -9":
        running.kill()
    elif how == "^C":
        os.killpg(running.pid, signal.SIGINT)
    else:
        running.send_signal(signal.SIGINT)
    said = running.communicate(timeout=30)[1] if how != "kill -9" else ""
    assert running.wait() == (-9 if how == "kill -9" else 130)
    assert how == "kill -9" or "`prov bisect continue`" in said
    (story.root / "on").touch()
    if how == "kill -9":  # the command still runs, without a parent
        os.killpg(running.pid, signal.SIGKILL)
    (story.root / "hold").unlink()
    assert "a bisection is in progress" in story.refused(
        "start", builds[0], builds[-1], "./judge.sh"
    )
    answer = read_answer(story.run("bisect", "continue", "--json").stdout)
    assert (answer["bad"], causes(answer)) == (builds[8], [value("r1")])
    assert len(set(story.asked())) == len(story.asked())
    assert "no bisection in progress" in story.refused("continue")
    assert not list((story.store.cache / "aside").glob("*/*"))


def test_after_a_kill_half_a_line_of_the_log_is_no_harm(story: Story, builds: list[str]) -> None:
    story.judge(BAD_FROM_8, before="if [ -e asked ] && [ ! -e on ]; then exit 130; fi")
    story.refused("start", builds[0], builds[-1], "./judge.sh")
    log = story.store.path / "bisect"
    with log.open("a") as stream:
        stream.write('{"tree": "0123')
    story.refused("continue")
    (story.root / "on").touch()
    assert read_answer(story.run("bisect", "continue", "--json").stdout)["bad"] == builds[8]
    assert len(set(story.asked())) == len(story.asked())
    assert all(json.loads(line) for line in log.with_name("bisect.done").read_text().splitlines())


def interrupted(story: Story, builds: list[str]) -> Path:
    """Start a bisection and interrupt it; return its log."""
    story.judge(BAD_FROM_8, before="if [ -e asked ] && [ ! -e on ]; then exit 130; fi")
    story.refused("start", builds[0], builds[-1], "./judge.sh")
    (story.root / "on").touch()
    (story.root / "asked").unlink()
    return story.store.path / "bisect"


def of_another(story: Story, log: Path, how: str) -> None:
    """Let a log be as another user, or another store, would have it."""
    first, *rows = log.read_text().splitlines(keepends=True)
    data = json.loads(first)
    if how == "another user":
        data["digest"] = "00" * 32
    elif how == "an older prov":
        del data["digest"]
    elif how == "no digest":
        data["digest"] = 7
    elif how == "another command":
        data["question"]["command"] = ["./judge.sh", "{}", "evil\x1b[2K\nname"]
    log.write_text("".join([json.dumps(data) + "\n", *rows]))
    if how == "another store":
        moved, path = story.root / "moved", story.store.path
        path.rename(moved)
        path.symlink_to(moved)


OF_ANOTHER = [
    "another user",
    "an older prov",
    "no digest",
    "another command",
    "another store",
    "another key",
]


@pytest.mark.parametrize("how", OF_ANOTHER)
@pytest.mark.parametrize("verb", ["continue", "replay"])
def test_the_command_of_another_user_is_not_run(
    story: Story, builds: list[str], how: str, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = interrupted(story, builds)
    of_another(story, log, how)
    if how == "another key":
        monkeypatch.setenv("XDG_STATE_HOME", str(story.root / "state"))
    words = ["continue"]
    if verb == "replay":
        shutil.move(log, story.root / "file")
        words = ["replay", "file"]
    said = story.refused(*words)
    assert said.count("\n") == 2 and "you did not start this bisection in this store" in said
    source = story.root / "file" if verb == "replay" else log
    command = json.loads(source.read_text().splitlines()[0])["question"]["command"]
    if how == "another command":
        assert "evil\\x1b[2K\\nname" in said
        assert "\x1b" not in said
    else:
        assert "add `-- ./judge.sh`" in said
    assert story.asked() == []
    assert "the recorded command differs: ./judge.sh" in story.refused(
        *words, "--", "./judge.sh", "more"
    )
    assert story.asked() == []
    # passed again it runs, and is this user's from there on
    (story.root / "on").unlink()
    (story.root / "asked").touch()
    assert "ended with 130" in story.refused(*words, "--", *command)
    (story.root / "on").touch()
    assert read_answer(story.run("bisect", "continue", "--json").stdout)["bad"] == builds[8]


@pytest.mark.parametrize("typed", ["n", "y"])
def test_on_a_terminal_the_command_of_another_user_is_shown_and_asked_for(
    story: Story, builds: list[str], typed: str
) -> None:
    of_another(story, interrupted(story, builds), "another user")
    with Terminal([PROV, "bisect", "continue"], story.root) as terminal:
        terminal.wait_for(b"Run it? [y/N]")
        assert b"    ./judge.sh\r\n" in terminal.screen
        assert story.asked() == []
        terminal.type(f"{typed}\n".encode())
        assert (terminal.ended() == 0) is (typed == "y")
    assert bool(story.asked()) is (typed == "y")


def test_a_user_without_a_key_is_asked(
    story: Story, builds: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/dev/null")
    interrupted(story, builds)
    assert "you did not begin" in story.refused("continue")
    assert story.asked() == []
    assert (
        read_answer(story.run("bisect", "continue", "--json", "--", "./judge.sh").stdout)["bad"]
        == builds[8]
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_build_of_a_combination_says_nothing_of_it(
    story: Story, number: int
) -> None:
    texts = story.of(4)
    good = story.built(texts)
    bad = story.built(texts | {f"r{number}.toml": gives(1) for number in range(4)})
    story.judge("grep -q 'r2 1' $all")
    (story.root / "hang").touch()
    running = story.begin("start", good, bad, "./judge.sh")
    story.wait_for("hung")
    running.send_signal(number)
    (story.root / "hang").unlink()  # a worker goes on, and ends
    running.wait(timeout=30)
    assert running.returncode == (130 if number == signal.SIGINT else -9)
    time.sleep(1)
    assert causes(read_answer(story.run("bisect", "continue", "--json").stdout)) == [value("r2")]
    assert {tag.rpartition("/")[2] for tag in story.tags() if "/failed/" not in tag} == {"1"}


def test_a_log_is_replayed_also_when_it_was_edited(story: Story, builds: list[str]) -> None:
    story.judge(
        f"{BAD_FROM_8}",
        before="if [ $(sed -n 's/^r1 //p' $all) = 7 ] && [ ! -e on ]; then exit 130; fi",
    )
    assert "ended with 130" in story.refused("start", builds[0], builds[-1], "./judge.sh")
    printed = story.run("bisect", "log").stdout
    kept, edited = story.root / "kept", story.root / "edited"
    kept.write_text(printed)
    edited.write_text(printed.replace('"verdict": "good"', '"verdict": "bad"'))
    (story.root / "on").touch()
    assert "a bisection is in progress" in story.refused("replay", "kept")
    story.run("bisect", "reset")
    assert "no bisection in progress" in story.refused("log")
    first = read_answer(story.run("bisect", "replay", "kept", "--json").stdout)
    assert first["bad"] == builds[8]
    assert len(set(story.asked())) == len(story.asked())
    assert read_answer(story.run("bisect", "replay", "edited", "--json").stdout)["bad"] != builds[8]
    kept.write_text(printed.replace('"verdict": "good"', '"verdict": "fine"'))
    assert "invalid verdict 'fine'" in story.refused("replay", "kept")
    kept.write_text("{}\n")
    assert "is not a bisection log" in story.refused("replay", "kept")
    assert "there is no" in story.refused("replay", "nothing", code=2)


# builds without a verdict


def test_builds_that_cannot_be_told_are_named(story: Story) -> None:
    texts = story.of(3)
    builds = [story.built(texts | {"r1.toml": gives(number)}) for number in range(6)]
    broken = texts | {
        "r1.toml": gives(6),
        "image.toml": texts["image.toml"].replace("cat ", "exit 3; cat "),
    }
    failed = story.built(broken, ok=False)
    other = story.built(texts | {"r1.toml": gives(7)}, "r0:give")
    builds += [
        failed,
        other,
        *(story.built(texts | {"r1.toml": gives(number)}) for number in range(8, 12)),
    ]
    story.judge("[ $n -ge 6 ]", before="n=$(sed -n 's/^r1 //p' $all); [ $n != 8 ] || exit 125")
    answer = story.find(builds[0], builds[-1])
    assert (answer["good"], answer["bad"], answer["between"]) == (builds[5], builds[9], 3)
    assert (
        f"build {builds[9][:12]}, or one of the 3 builds before it that could not be judged"
        in answer["sentence"]
    )
    assert causes(answer) == [value("r1")]


def test_a_combination_that_cannot_be_built_is_passed_over(story: Story) -> None:
    texts = story.of(4)
    picky = texts["image.toml"].replace(
        "cat ", "grep -q 'r1 1' give/r1 || ! grep -q 'r2 1' give/r2 || exit 4; cat "
    )
    story.judge("grep -q 'r2 1' $all")
    good = story.built(texts | {"image.toml": picky, "r1.toml": gives(1)})
    bad = story.built(
        texts | {"image.toml": picky, **{f"r{number}.toml": gives(1) for number in range(4)}}
    )
    assert causes(story.find(good, bad)) == [value("r2")]
    unbuildable = picky.replace("give/r1 ||", "give/r3 ||").replace("r1 1", "r3 1")
    good = story.built(texts | {"image.toml": unbuildable})
    bad = story.built(
        texts | {"image.toml": unbuildable, **{f"r{number}.toml": gives(1) for number in range(4)}}
    )
    assert causes(story.find(good, bad)) == [value("r2"), value("r3")]


def test_each_time_the_command_gets_what_nobody_changed(story: Story, builds: list[str]) -> None:
    story.judge(f"{BAD_FROM_8} || [ -e $1/was-here ] || ! touch $1/was-here")
    answer = story.find(builds[0], builds[-1], "--repeat", "2")
    assert (answer["bad"], answer["flaky"]) == (builds[8], False)


def test_a_command_that_is_not_sure_is_asked_more_often(story: Story, builds: list[str]) -> None:
    count = "echo >> count; [ $(( $(wc -l < count) % 5 )) = 4 ]"  # once in five times
    story.judge(f"{BAD_FROM_8} && {{ {count}; }}")
    answer = story.find(builds[0], builds[-1], "--repeat", "5")
    assert (answer["bad"], answer["flaky"]) == (builds[8], True)
    assert (
        "did not always say the same"
        in story.run("bisect", "start", builds[0], builds[-1], "--repeat=5", "./judge.sh").stdout
    )


# other causes

UPSTREAM = """
version = "1"
sources = [
  {{ git = "{root}/upstream", commit = "{one}", name = "one" }},
  {{ git = "{root}/upstream", commit = "{two}", name = "two" }},
]
[tasks.give]
from = ["fetch"]
outputdir = "give"
script = "cat sources/one/text > give/r0; cat sources/two/text >> give/r0"
"""


def test_of_a_git_source_the_commits_are_told(story: Story) -> None:
    story.root.mkdir()
    commits = []
    story.git("init", "-q")
    story.git("config", "uploadpack.allowAnySHA1InWant", "true")
    for text in ("one", "two", "three"):
        (story.root / "upstream" / "text").write_text(f"{text}\n")
        story.git("add", ".")
        story.git("commit", "-q", "-m", text)
        commits.append(story.git("rev-parse", "HEAD"))
    texts = story.of(2)

    def pinned(one: int, two: int) -> Texts:
        return texts | {
            "r0.toml": UPSTREAM.format(root=story.root, one=commits[one], two=commits[two])
        }

    good, bad = story.built(pinned(0, 0)), story.built(pinned(1, 2))
    story.judge("grep -q three $all")
    answer = story.find(good, bad)
    assert causes(answer) == [("source", "two", "r0:fetch")]
    assert f"(commits {commits[0]}..{commits[2]})" in answer["sentence"]
    assert (
        f"source two (commits {commits[0]}..{commits[2]}) in r0:fetch broke it"
        in answer["sentence"]
    )


TIME = gives(0, "date +%N > give/r1; cat /proc/sys/kernel/random/uuid >> give/r1")


@pytest.mark.parametrize("others", [0, 3])
def test_another_output_of_the_same_inputs_is_told_as_such(story: Story, others: int) -> None:
    texts = story.of(5) | {"r1.toml": TIME}
    good = story.built(texts)
    line = story.latest().line(TaskKey("image:image"))
    assert line is not None
    at = f"{good}/r1:give@output"
    story.run("checkout", at, "kept")
    changed = {f"r{number}.toml": gives(1) for number in (2, 3, 4)[:others]}
    bad = story.built(texts | changed, force=("r1:give",))
    story.judge(
        "[ \"$(sed 2q kept/give/r1 | tr '\\n' ,)\" != \"$(sed -n 2,3p $all | tr '\\n' ,)\" ]"
    )
    answer = story.find(good, bad)
    assert causes(answer) == [("same inputs", "", "r1:give")]
    assert (
        answer["sentence"]
        == f"a different output of r1:give from the same inputs broke it in build {bad[:12]}"
    )
    assert len(story.asked()) == answer["checkouts"]


MIDDLE = """
version = "1"
[variables]
VALUE = "0"
MORE = "0"
[tasks.give]
from = ["r1:give"]
outputdir = "give"
script = 'echo "$PN $VALUE $MORE" >> give/$PN'
"""


@pytest.mark.parametrize("later", [0, 1])
def test_another_output_is_told_from_a_change_of_what_takes_it(story: Story, later: int) -> None:
    texts = story.of(3) | {
        "r1.toml": TIME,
        "middle.toml": MIDDLE,
        "image.toml": story.image("middle", "r2"),
    }
    good = story.built(texts)
    bad = story.built(
        texts | {"middle.toml": MIDDLE.replace('VALUE = "0"', 'VALUE = "1"')}, force=("r1:give",)
    )
    story.run("checkout", "latest/r1:give@output", "forced")
    for _ in range(later):  # then what is recorded is neither's
        story.built(texts, force=("r1:give",))
    story.judge("grep -q $(tail -n 1 forced/give/r1) $all")
    assert causes(story.find(good, bad)) == [("same inputs", "", "r1:give")]


def test_a_later_build_takes_the_output_that_is_recorded_not_one_of_a_combination(
    story: Story,
) -> None:
    texts = story.of(3) | {
        "r1.toml": TIME,
        "middle.toml": MIDDLE,
        "image.toml": story.image("middle", "r2"),
    }
    good = story.built(texts)
    changed = MIDDLE.replace('MORE = "0"', 'MORE = "1"')
    bad = story.built(
        texts | {"middle.toml": changed.replace('VALUE = "0"', 'VALUE = "1"')}, force=("r1:give",)
    )
    story.judge("grep -q 'middle . 1' $all")
    assert causes(story.find(good, bad)) == [("variable", "MORE", "middle:give")]
    story.built(texts | {"middle.toml": changed})
    story.run("checkout", "latest/r1:give@output", "forced")
    story.run("checkout", "latest/image:image@output", "after")
    assert (story.root / "forced/give/r1").read_text() in (story.root / "after/out/all").read_text()


# other parts


def test_a_sysroot_is_bisected_too(story: Story) -> None:
    uses = (
        "version = '1'\n[tasks.use]\nneeds = ['r0:give', 'r1:give', 'r2:give']\noutputdir ="
        " 'out'\nscript = ':'\n"
    )
    texts = story.of(3) | {"app.toml": uses}
    builds = [story.built(texts | {"r0.toml": gives(number)}, "app:use") for number in range(5)]
    changed = {f"r{number}.toml": gives(f"new {number}") for number in range(3)}
    builds.append(story.built(texts | changed, "app:use"))
    answer = story.find(
        builds[0],
        builds[-1],
        "--of",
        "app:use@sysroot",
        command=["sh", "-c", "! cat $0/r1 | grep -q new"],
    )
    assert (answer["bad"], causes(answer)) == (builds[5], [value("r1")])


def test_a_folder_of_an_output_is_bisected_too(story: Story) -> None:
    texts = story.of(3)
    good = story.built(texts)
    bad = story.built(texts | {f"r{number}.toml": gives(1) for number in range(3)})
    command = ["sh", "-c", "! grep -q 'r1 1' $0/all"]
    answer = story.find(good, bad, "--of", "image:image@output/out", command=command)
    assert causes(answer) == [value("r1")]


@pytest.mark.skipif(not shutil.which("bwrap"), reason="no bwrap")
def test_combinations_are_built_in_a_sandbox_if_the_builds_were(tmp_path: Path) -> None:
    story = Story(tmp_path / "story", "bwrap")
    texts = story.of(4) | {"r1.toml": gives(0, 'echo "$PN $VALUE $WORKDIR" > give/$PN')}
    good = story.built(texts)
    bad = story.built(
        texts
        | {f"r{number}.toml": texts[f"r{number}.toml"].replace("'0'", "'1'") for number in range(4)}
    )
    story.judge("grep -q 'r1 1' $all && grep -q 'r3 1' $all")
    assert causes(story.find(good, bad)) == [value("r1"), value("r3")]
    assert not list((story.store.cache / "aside").glob("*/work"))


# what is wrong


def test_what_is_wrong_is_told_and_nothing_is_begun(story: Story) -> None:
    texts = story.of(2)
    builds = [story.built(texts | {"r1.toml": gives(number)}) for number in (0, 1, 1)]
    first, second, third = builds
    story.judge("false")
    wrong = {
        f"build {third[:12]} is not before {first[:12]}": (third, first, "./judge.sh"),
        "is identical in the good and the bad build": (second, third, "./judge.sh"),
        "no build is named nothing": ("nothing", third, "./judge.sh"),
        "builds precede latest": ("latest~9", "latest", "./judge.sh"),
        f"build {first[:12]} has no image:imag@output": (
            first,
            third,
            "--of",
            "image:imag",
            "./judge.sh",
        ),
        "did you mean output?": (first, third, "--of", "image:image@outp", "./judge.sh"),
        "has no image:image@output/nowhere": (
            first,
            third,
            "--of",
            "image:image@output/nowhere",
            "./judge.sh",
        ),
        "cannot run ./nothing.sh: no such program": (first, third, "./nothing.sh"),
    }
    for words, arguments in wrong.items():
        said = story.refused("start", *arguments)
        assert words in said
        assert "  hint: " in said
        assert len(said.splitlines()) == 2
    assert "no bisection in progress" in story.refused("log")


@pytest.mark.parametrize(
    ("ends", "words"), [("exit 128", "ended with 128"), ("kill -9 $$", "ended by signal 9")]
)
def test_an_end_that_is_no_verdict_ends_it_and_is_asked_again(
    story: Story, builds: list[str], ends: str, words: str
) -> None:
    story.judge(BAD_FROM_8, before=f"[ -e on ] || {ends}")
    said = story.refused("start", builds[0], builds[-1], "./judge.sh")
    assert words in said
    assert "`prov bisect continue`" in said
    (story.root / "on").touch()
    assert read_answer(story.run("bisect", "continue", "--json").stdout)["bad"] == builds[8]


def test_a_program_that_a_shell_does_not_find_is_a_mistake_and_no_verdict(
    story: Story, builds: list[str]
) -> None:
    said = story.refused(
        "start", builds[0], builds[-1], "--", "sh", "-c", "there-is-no-such-program"
    )
    assert "exits with 127 for the good build too" in said
    story.run("bisect", "reset")
    story.judge(
        BAD_FROM_8.replace("]", "] && exit 127; false")
    )  # as the loader does that misses a library
    assert story.find(builds[0], builds[-1])["bad"] == builds[8]


def test_a_file_that_is_no_program_is_told(story: Story, builds: list[str]) -> None:
    (story.root / "judge.sh").write_text("#!/nowhere/sh\n")
    (story.root / "judge.sh").chmod(0o755)
    more = story.built(story.of(3) | {"r1.toml": gives(99)})
    assert "cannot run ./judge.sh: " in story.refused("start", builds[0], more, "./judge.sh")
