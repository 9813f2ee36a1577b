"""`prov bisect` as a process, on recorded builds, with a script as the command."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from math import ceil, log2
from pathlib import Path
from typing import Any

import pytest

from prov.records.keys import TaskKey
from tests.commands import PROV, run_prov
from tests.history.tiny import Texts, Tiny
from tests.schema.check import read_answer
from tests.terminal import Terminal

pytestmark = pytest.mark.process

IMAGE = """
version = "1"
[variables]
FORMAT = "1"
[tasks.image]
from = [{sources}]
outputdir = "out"
script = '''
while [ -e {root}/hang ]; do echo > {root}/hung; sleep 0.05; done
cat text/* > out/all; echo "format $FORMAT" >> out/all
'''
"""


def recipe(value: object = 0, script: str = 'echo "$PN $VALUE" > text/$PN') -> str:
    """Return a recipe whose output is a text with a value."""
    return (
        f"version = '1'\n[variables]\nVALUE = '{value}'\n[tasks.write]\noutputdir = 'text'\n"
        f"script = '''{script}'''\n"
    )


class Story(Tiny):
    """Recipes that each write a text, an image of all texts, and builds of the image."""

    def image(self, *names: str) -> str:
        return IMAGE.format(sources=", ".join(f'"{name}:write"' for name in names), root=self.root)

    def of(self, count: int) -> dict[str, str]:
        """Return the recipes r0, r1 and so on, and the image of their texts."""
        names = [f"r{number}" for number in range(count)]
        return {f"{name}.toml": recipe() for name in names} | {"image.toml": self.image(*names)}

    def built(
        self, texts: Texts, *targets: str, ok: bool = True, force: tuple[str, ...] = ()
    ) -> str:
        """Build the image, or other targets; return the build's id."""
        self.build(texts, *(targets or ("image:image",)), ok=ok, force=force)
        return self.latest().commit.hex()

    def judge(self, bad: str, *, before: str = "") -> Path:
        """Write a command that exits with 1 if the shell test `bad` of $all succeeds.

        It appends what it judges to the file `judged`.
        """
        path = self.root / "judge.sh"
        log = 'echo "$(cat $1/out/all | tr "\\n" ,)" >> judged'
        wait = "while [ -e hold ]; do echo > held; sleep 0.05; done"
        path.parent.mkdir(exist_ok=True)
        path.write_text(
            f"#!/bin/sh\nall=$1/out/all\n{wait}\n{before}\n{log}\nif {bad}; then exit 1; fi\n"
        )
        path.chmod(0o755)
        return path

    def judged(self) -> list[str]:
        """Return the texts that the command judged, in order."""
        path = self.root / "judged"
        return path.read_text().splitlines() if path.exists() else []

    def run(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = run_prov(*arguments, cwd=self.root)
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
        """Return the error of a command that fails."""
        error = self.run("bisect", *arguments, code=code).stderr
        assert "Traceback" not in error
        return error

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a bisection in a process group of its own, which can be interrupted."""
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
        raise AssertionError(f"{name} does not exist after 20 s")

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
    """Return kind, name and task of each cause in an answer, sorted."""
    return sorted(
        (cause["kind"], cause["name"], task) for cause in answer[which] for task in cause["tasks"]
    )


def value(recipe: str) -> tuple[str, str, str]:
    return ("variable", "VALUE", f"{recipe}:write")


# one change


def test_one_change_among_many_builds_is_found(story: Story) -> None:
    texts = story.of(30)
    builds = [story.built(texts)]
    for number in range(1, 64):
        name = f"r{number * 7 % 30}"
        texts[f"{name}.toml"] = recipe("broken" if number == 41 else number)
        if number > 41 and name == "r17":
            texts["r17.toml"] = recipe(f"broken {number}")
        builds.append(story.built(texts))
    before = story.tags()
    story.judge("grep -q broken $all")
    answer = story.find(builds[0], builds[-1])
    assert (answer["good"], answer["bad"]) == (builds[40], builds[41])
    assert causes(answer) == [value("r17")]
    assert answer["earlier"] == []
    assert answer["checkouts"] <= ceil(log2(64)) + 1
    assert len(story.judged()) == answer["checkouts"]
    assert answer["sentence"] == f"variable VALUE in r17:write broke it in build {builds[41][:12]}"
    # only combinations run, and each only once
    assert before <= story.tags()
    assert {tag.rpartition("/")[2] for tag in story.tags()} == {"1"}
    assert {tag.split("/")[2] for tag in story.tags() - before} <= {"image"}
    assert len(story.latest().commit) == len(bytes.fromhex(builds[-1]))
    assert story.latest().commit.hex() == builds[-1]


def test_bisection_leaves_only_recorded_runs(story: Story) -> None:
    texts = story.of(4)
    good = story.built(texts)
    bad = story.built(texts | {f"r{number}.toml": recipe(1) for number in range(4)})
    story.judge("grep -q 'r2 1' $all")
    refs = story.store.refs.list("refs/")
    cached = sorted(str(path) for path in (story.store.cache / "sysroots").glob("*"))
    assert causes(story.find(good, bad)) == [value("r2")]
    new = story.store.refs.list("refs/").items() - refs.items()
    assert {name.split("/")[1] for name, _ in new} == {
        "prov",
        "tags",
    }  # only the runs of combinations are recorded
    assert not [name for name, _ in new if "/aside/" in name or "/workdir/" in name]
    assert sorted(str(path) for path in (story.store.cache / "sysroots").glob("*")) == cached
    assert not list((story.store.cache / "aside").glob("*/work"))


def test_answer_as_text(story: Story) -> None:
    texts = story.of(3)
    good = story.built(texts)
    bad = story.built(texts | {"r1.toml": recipe(1), "r2.toml": recipe(1)})
    story.judge("grep -q 'r2 1' $all", before="echo noise")
    done = story.run("bisect", "start", good, bad, "./judge.sh")
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert lines == [
        "variable VALUE in r2:write",
        "@@ -1 +1 @@",
        "-0",
        "+1",
        f"variable VALUE in r2:write broke it in build {bad[:12]}",
    ]
    assert "noise" in done.stderr


# changes that are bad only together


def test_two_changes_of_one_build_are_bad_only_together(story: Story) -> None:
    texts = story.of(8)
    good = story.built(texts)
    bad = story.built(texts | {f"r{number}.toml": recipe(1) for number in range(8)})
    story.judge("grep -q 'r2 1' $all && grep -q 'r5 1' $all")
    answer = story.find(good, bad)
    assert causes(answer) == [value("r2"), value("r5")]
    assert len(set(story.judged())) == len(story.judged()) == answer["checkouts"]
    assert (
        answer["sentence"] == f"variable VALUE in r2:write, r5:write broke it in build {bad[:12]}"
    )


def test_two_changes_of_two_builds_are_bad_only_together(story: Story) -> None:
    texts = story.of(8)
    builds = [story.built(texts)]
    for number in range(8):
        texts[f"r{number}.toml"] = recipe(1)
        builds.append(story.built(texts))
    story.judge("grep -q 'r2 1' $all && grep -q 'r5 1' $all")
    answer = story.find(builds[0], builds[-1])
    assert (answer["bad"], causes(answer), causes(answer, "earlier")) == (
        builds[6],
        [value("r5")],
        [value("r2")],
    )
    assert answer["sentence"].endswith(", together with variable VALUE in r2:write")
    assert len(set(story.judged())) == len(story.judged())
    alone = story.find(builds[0], builds[-1], "--no-combination")
    assert (causes(alone), causes(alone, "earlier")) == ([value("r5")], [])


def test_bad_one_of_two_new_dependencies_is_named(story: Story) -> None:
    more = {"a.toml": recipe(), "z.toml": recipe("bad")}
    good = story.built(story.of(2) | more)
    bad = story.built(story.of(2) | more | {"image.toml": story.image("r0", "r1", "a", "z")})
    story.judge("grep -q bad $all")
    assert causes(story.find(good, bad)) == [("dependency", "from z:write", "image:image")]


# interruption and continuation


@pytest.fixture(scope="module")
def twelve_once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    story = Story(tmp_path_factory.mktemp("twelve") / "story")
    texts = story.of(3)
    return story.root, [story.built(texts | {"r1.toml": recipe(number)}) for number in range(12)]


@pytest.fixture
def builds(story: Story, twelve_once: tuple[Path, list[str]]) -> list[str]:
    """Twelve builds in the store, with rising values in r1."""
    shutil.copytree(twelve_once[0], story.root, symlinks=True)
    return twelve_once[1]


BAD_FROM_8 = "[ $(sed -n 's/^r1 //p' $all) -ge 8 ]"


@pytest.mark.parametrize("how", ["^C", "^C of prov alone", "kill -9"])
def test_interrupted_bisection_continues_and_tests_nothing_twice(
    story: Story, builds: list[str], how: str
) -> None:
    story.judge(BAD_FROM_8)
    (story.root / "judge.sh").write_text(
        (story.root / "judge.sh")
        .read_text()
        .replace("while", "[ ! -e judged ] || [ -e on ] || touch hold\nwhile", 1)
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
    error = running.communicate(timeout=30)[1] if how != "kill -9" else ""
    assert running.wait() == (-9 if how == "kill -9" else 130)
    assert how == "kill -9" or "`prov bisect continue`" in error
    (story.root / "on").touch()
    if how == "kill -9":  # the command still runs, without a parent
        os.killpg(running.pid, signal.SIGKILL)
    (story.root / "hold").unlink()
    assert "a bisection is in progress" in story.refused(
        "start", builds[0], builds[-1], "./judge.sh"
    )
    answer = read_answer(story.run("bisect", "continue", "--json").stdout)
    assert (answer["bad"], causes(answer)) == (builds[8], [value("r1")])
    assert len(set(story.judged())) == len(story.judged())
    assert "no bisection in progress" in story.refused("continue")
    assert not list((story.store.cache / "aside").glob("*/*"))


def test_incomplete_last_line_of_the_log_is_ignored(story: Story, builds: list[str]) -> None:
    story.judge(BAD_FROM_8, before="if [ -e judged ] && [ ! -e on ]; then exit 130; fi")
    story.refused("start", builds[0], builds[-1], "./judge.sh")
    log = story.store.path / "bisect"
    with log.open("a") as stream:
        stream.write('{"tree": "0123')
    story.refused("continue")
    (story.root / "on").touch()
    assert read_answer(story.run("bisect", "continue", "--json").stdout)["bad"] == builds[8]
    assert len(set(story.judged())) == len(story.judged())
    assert all(json.loads(line) for line in log.with_name("bisect.done").read_text().splitlines())


def interrupted(story: Story, builds: list[str]) -> Path:
    """Start a bisection and interrupt it; return its log."""
    story.judge(BAD_FROM_8, before="if [ -e judged ] && [ ! -e on ]; then exit 130; fi")
    story.refused("start", builds[0], builds[-1], "./judge.sh")
    (story.root / "on").touch()
    (story.root / "judged").unlink()
    return story.store.path / "bisect"


def make_foreign(story: Story, log: Path, how: str) -> None:
    """Change a log, or move its store, as if another user or store wrote the log."""
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


FOREIGN_LOGS = [
    "another user",
    "an older prov",
    "no digest",
    "another command",
    "another store",
    "another key",
]


@pytest.mark.parametrize("how", FOREIGN_LOGS)
@pytest.mark.parametrize("verb", ["continue", "replay"])
def test_command_of_another_user_is_not_run(
    story: Story, builds: list[str], how: str, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = interrupted(story, builds)
    make_foreign(story, log, how)
    if how == "another key":
        monkeypatch.setenv("XDG_STATE_HOME", str(story.root / "state"))
    words = ["continue"]
    if verb == "replay":
        shutil.move(log, story.root / "file")
        words = ["replay", "file"]
    error = story.refused(*words)
    assert error.count("\n") == 2
    assert "you did not start this bisection in this store" in error
    source = story.root / "file" if verb == "replay" else log
    command = json.loads(source.read_text().splitlines()[0])["question"]["command"]
    if how == "another command":
        assert "evil\\x1b[2K\\nname" in error
        assert "\x1b" not in error
    else:
        assert "append `-- ./judge.sh" in error
    assert story.judged() == []
    assert "the recorded command differs: ./judge.sh" in story.refused(
        *words, "--", "./judge.sh", "more"
    )
    assert story.judged() == []
    # after the approval, the log belongs to this user
    (story.root / "on").unlink()
    (story.root / "judged").touch()
    assert "exited with 130" in story.refused(*words, "--", *command)
    (story.root / "on").touch()
    assert read_answer(story.run("bisect", "continue", "--json").stdout)["bad"] == builds[8]


@pytest.mark.parametrize("typed", ["n", "y"])
def test_command_of_another_user_needs_approval_on_a_terminal(
    story: Story, builds: list[str], typed: str
) -> None:
    make_foreign(story, interrupted(story, builds), "another user")
    with Terminal([PROV, "bisect", "continue"], story.root) as terminal:
        terminal.wait_for(b"Run it? [y/N]")
        assert b"    ./judge.sh\r\n" in terminal.screen
        assert story.judged() == []
        terminal.type(f"{typed}\n".encode())
        assert (terminal.ended() == 0) is (typed == "y")
    assert bool(story.judged()) is (typed == "y")


def test_user_without_a_key_must_approve_the_command(
    story: Story, builds: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/dev/null")
    interrupted(story, builds)
    assert "you did not start" in story.refused("continue")
    assert story.judged() == []
    assert (
        read_answer(story.run("bisect", "continue", "--json", "--", "./judge.sh").stdout)["bad"]
        == builds[8]
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_build_of_a_combination_is_not_a_verdict(story: Story, number: int) -> None:
    texts = story.of(4)
    good = story.built(texts)
    bad = story.built(texts | {f"r{number}.toml": recipe(1) for number in range(4)})
    story.judge("grep -q 'r2 1' $all")
    (story.root / "hang").touch()
    running = story.begin("start", good, bad, "./judge.sh")
    story.wait_for("hung")
    running.send_signal(number)
    (story.root / "hang").unlink()  # a worker continues, and ends
    running.wait(timeout=30)
    assert running.returncode == (130 if number == signal.SIGINT else -9)
    time.sleep(1)
    assert causes(read_answer(story.run("bisect", "continue", "--json").stdout)) == [value("r2")]
    assert {tag.rpartition("/")[2] for tag in story.tags() if "/failed/" not in tag} == {"1"}


def test_edited_log_is_replayed(story: Story, builds: list[str]) -> None:
    story.judge(
        f"{BAD_FROM_8}",
        before="if [ $(sed -n 's/^r1 //p' $all) = 7 ] && [ ! -e on ]; then exit 130; fi",
    )
    assert "exited with 130" in story.refused("start", builds[0], builds[-1], "./judge.sh")
    printed = story.run("bisect", "log").stdout
    copy, edited = story.root / "copy", story.root / "edited"
    copy.write_text(printed)
    edited.write_text(printed.replace('"verdict": "good"', '"verdict": "bad"'))
    (story.root / "on").touch()
    assert "a bisection is in progress" in story.refused("replay", "copy")
    story.run("bisect", "reset")
    assert "no bisection in progress" in story.refused("log")
    first = read_answer(story.run("bisect", "replay", "copy", "--json").stdout)
    assert first["bad"] == builds[8]
    assert len(set(story.judged())) == len(story.judged())
    assert read_answer(story.run("bisect", "replay", "edited", "--json").stdout)["bad"] != builds[8]
    copy.write_text(printed.replace('"verdict": "good"', '"verdict": "fine"'))
    assert "invalid verdict 'fine'" in story.refused("replay", "copy")
    copy.write_text("{}\n")
    assert "is not a bisection log" in story.refused("replay", "copy")
    assert "nothing does not exist" in story.refused("replay", "nothing", code=2)


# builds without a verdict


def test_skipped_builds_are_named(story: Story) -> None:
    texts = story.of(3)
    builds = [story.built(texts | {"r1.toml": recipe(number)}) for number in range(6)]
    broken = texts | {
        "r1.toml": recipe(6),
        "image.toml": texts["image.toml"].replace("cat ", "exit 3; cat "),
    }
    failed = story.built(broken, ok=False)
    other = story.built(texts | {"r1.toml": recipe(7)}, "r0:write")
    builds += [
        failed,
        other,
        *(story.built(texts | {"r1.toml": recipe(number)}) for number in range(8, 12)),
    ]
    story.judge("[ $n -ge 6 ]", before="n=$(sed -n 's/^r1 //p' $all); [ $n != 8 ] || exit 125")
    answer = story.find(builds[0], builds[-1])
    assert (answer["good"], answer["bad"], answer["between"]) == (builds[5], builds[9], 3)
    assert (
        f"build {builds[9][:12]}, or one of the 3 builds before it that could not be judged"
        in answer["sentence"]
    )
    assert causes(answer) == [value("r1")]


def test_combination_that_cannot_be_built_is_skipped(story: Story) -> None:
    texts = story.of(4)
    picky = texts["image.toml"].replace(
        "cat ", "grep -q 'r1 1' text/r1 || ! grep -q 'r2 1' text/r2 || exit 4; cat "
    )
    story.judge("grep -q 'r2 1' $all")
    good = story.built(texts | {"image.toml": picky, "r1.toml": recipe(1)})
    bad = story.built(
        texts | {"image.toml": picky, **{f"r{number}.toml": recipe(1) for number in range(4)}}
    )
    assert causes(story.find(good, bad)) == [value("r2")]
    unbuildable = picky.replace("text/r1 ||", "text/r3 ||").replace("r1 1", "r3 1")
    good = story.built(texts | {"image.toml": unbuildable})
    bad = story.built(
        texts | {"image.toml": unbuildable, **{f"r{number}.toml": recipe(1) for number in range(4)}}
    )
    assert causes(story.find(good, bad)) == [value("r2"), value("r3")]


def test_each_repetition_gets_a_fresh_checkout(story: Story, builds: list[str]) -> None:
    story.judge(f"{BAD_FROM_8} || [ -e $1/was-here ] || ! touch $1/was-here")
    answer = story.find(builds[0], builds[-1], "--repeat", "2")
    assert (answer["bad"], answer["flaky"]) == (builds[8], False)


def test_flaky_command_is_repeated(story: Story, builds: list[str]) -> None:
    count = "echo >> count; [ $(( $(wc -l < count) % 5 )) = 4 ]"  # once in five times
    story.judge(f"{BAD_FROM_8} && {{ {count}; }}")
    answer = story.find(builds[0], builds[-1], "--repeat", "5")
    assert (answer["bad"], answer["flaky"]) == (builds[8], True)
    assert (
        "the command's verdict was not the same each time"
        in story.run("bisect", "start", builds[0], builds[-1], "--repeat=5", "./judge.sh").stdout
    )


# other causes

UPSTREAM = """
version = "1"
sources = [
  {{ git = "{root}/upstream", commit = "{one}", name = "one" }},
  {{ git = "{root}/upstream", commit = "{two}", name = "two" }},
]
[tasks.write]
from = ["fetch"]
outputdir = "text"
script = "cat sources/one/text > text/r0; cat sources/two/text >> text/r0"
"""


def test_commits_of_a_git_source_are_named(story: Story) -> None:
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


TIME = recipe(0, "date +%N > text/r1; cat /proc/sys/kernel/random/uuid >> text/r1")


@pytest.mark.parametrize("others", [0, 3])
def test_different_output_from_identical_inputs_is_a_cause(story: Story, others: int) -> None:
    texts = story.of(5) | {"r1.toml": TIME}
    good = story.built(texts)
    line = story.latest().line(TaskKey("image:image"))
    assert line is not None
    at = f"{good}/r1:write@output"
    story.run("checkout", at, "saved")
    changed = {f"r{number}.toml": recipe(1) for number in (2, 3, 4)[:others]}
    bad = story.built(texts | changed, force=("r1:write",))
    story.judge(
        "[ \"$(sed 2q saved/text/r1 | tr '\\n' ,)\" != \"$(sed -n 2,3p $all | tr '\\n' ,)\" ]"
    )
    answer = story.find(good, bad)
    assert causes(answer) == [("same inputs", "", "r1:write")]
    assert (
        answer["sentence"]
        == f"a different output of r1:write from identical inputs broke it in build {bad[:12]}"
    )
    assert len(story.judged()) == answer["checkouts"]


MIDDLE = """
version = "1"
[variables]
VALUE = "0"
MORE = "0"
[tasks.write]
from = ["r1:write"]
outputdir = "text"
script = 'echo "$PN $VALUE $MORE" >> text/$PN'
"""


@pytest.mark.parametrize("later", [0, 1])
def test_different_output_is_distinguished_from_a_changed_dependent(
    story: Story, later: int
) -> None:
    texts = story.of(3) | {
        "r1.toml": TIME,
        "middle.toml": MIDDLE,
        "image.toml": story.image("middle", "r2"),
    }
    good = story.built(texts)
    bad = story.built(
        texts | {"middle.toml": MIDDLE.replace('VALUE = "0"', 'VALUE = "1"')}, force=("r1:write",)
    )
    story.run("checkout", "latest/r1:write@output", "forced")
    for _ in range(later):  # the recorded output is then from neither build
        story.built(texts, force=("r1:write",))
    story.judge("grep -q $(tail -n 1 forced/text/r1) $all")
    assert causes(story.find(good, bad)) == [("same inputs", "", "r1:write")]


def test_later_build_uses_no_output_of_a_combination(
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
        texts | {"middle.toml": changed.replace('VALUE = "0"', 'VALUE = "1"')}, force=("r1:write",)
    )
    story.judge("grep -q 'middle . 1' $all")
    assert causes(story.find(good, bad)) == [("variable", "MORE", "middle:write")]
    story.built(texts | {"middle.toml": changed})
    story.run("checkout", "latest/r1:write@output", "forced")
    story.run("checkout", "latest/image:image@output", "after")
    assert (story.root / "forced/text/r1").read_text() in (story.root / "after/out/all").read_text()


# sysroots and folders


def test_sysroot_is_bisected(story: Story) -> None:
    uses = (
        "version = '1'\n[tasks.use]\nneeds = ['r0:write', 'r1:write', 'r2:write']\noutputdir ="
        " 'out'\nscript = ':'\n"
    )
    texts = story.of(3) | {"app.toml": uses}
    builds = [story.built(texts | {"r0.toml": recipe(number)}, "app:use") for number in range(5)]
    changed = {f"r{number}.toml": recipe(f"new {number}") for number in range(3)}
    builds.append(story.built(texts | changed, "app:use"))
    answer = story.find(
        builds[0],
        builds[-1],
        "--of",
        "app:use@sysroot",
        command=["sh", "-c", "! cat $0/r1 | grep -q new"],
    )
    assert (answer["bad"], causes(answer)) == (builds[5], [value("r1")])


def test_folder_of_an_output_is_bisected(story: Story) -> None:
    texts = story.of(3)
    good = story.built(texts)
    bad = story.built(texts | {f"r{number}.toml": recipe(1) for number in range(3)})
    command = ["sh", "-c", "! grep -q 'r1 1' $0/all"]
    answer = story.find(good, bad, "--of", "image:image@output/out", command=command)
    assert causes(answer) == [value("r1")]


@pytest.mark.skipif(not shutil.which("bwrap"), reason="no bwrap")
def test_combinations_are_built_in_a_sandbox_if_the_builds_were(tmp_path: Path) -> None:
    story = Story(tmp_path / "story", "bwrap")
    texts = story.of(4) | {"r1.toml": recipe(0, 'echo "$PN $VALUE $WORKDIR" > text/$PN')}
    good = story.built(texts)
    bad = story.built(
        texts
        | {f"r{number}.toml": texts[f"r{number}.toml"].replace("'0'", "'1'") for number in range(4)}
    )
    story.judge("grep -q 'r1 1' $all && grep -q 'r3 1' $all")
    assert causes(story.find(good, bad)) == [value("r1"), value("r3")]
    assert not list((story.store.cache / "aside").glob("*/work"))


# errors


def test_invalid_question_is_rejected_before_the_log_exists(story: Story) -> None:
    texts = story.of(2)
    builds = [story.built(texts | {"r1.toml": recipe(number)}) for number in (0, 1, 1)]
    first, second, third = builds
    story.judge("false")
    messages = {
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
    for message, arguments in messages.items():
        error = story.refused("start", *arguments)
        assert message in error
        assert "  hint: " in error
        assert len(error.splitlines()) == 2
    assert "no bisection in progress" in story.refused("log")


@pytest.mark.parametrize(
    ("end", "message"), [("exit 128", "exited with 128"), ("kill -9 $$", "killed by signal 9")]
)
def test_killed_command_stops_the_bisection_and_runs_again(
    story: Story, builds: list[str], end: str, message: str
) -> None:
    story.judge(BAD_FROM_8, before=f"[ -e on ] || {end}")
    error = story.refused("start", builds[0], builds[-1], "./judge.sh")
    assert message in error
    assert "`prov bisect continue`" in error
    (story.root / "on").touch()
    assert read_answer(story.run("bisect", "continue", "--json").stdout)["bad"] == builds[8]


def test_missing_program_in_a_shell_command_is_an_error(story: Story, builds: list[str]) -> None:
    error = story.refused(
        "start", builds[0], builds[-1], "--", "sh", "-c", "there-is-no-such-program"
    )
    assert "exits with 127 for the good build too" in error
    story.run("bisect", "reset")
    story.judge(
        BAD_FROM_8.replace("]", "] && exit 127; false")
    )  # as a program that lacks a library
    assert story.find(builds[0], builds[-1])["bad"] == builds[8]


def test_invalid_program_is_rejected(story: Story, builds: list[str]) -> None:
    (story.root / "judge.sh").write_text("#!/nowhere/sh\n")
    (story.root / "judge.sh").chmod(0o755)
    more = story.built(story.of(3) | {"r1.toml": recipe(99)})
    assert "cannot run ./judge.sh: " in story.refused("start", builds[0], more, "./judge.sh")
