"""A combination of two builds has the hashes and outputs of a build with the same edits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from prov.history.causes import SAME_INPUTS, CauseGroup, build_difference
from prov.history.names import run_in
from prov.records.keys import TaskKey
from prov.replay.combination import InputStep, Workshop, combine
from prov.replay.scratch import open_scratch
from prov.scheduler.summary import RunOptions, Summary
from prov.store.objects import Oid
from prov.sysroot.compose import sysroots_of
from prov.tasks.recorded import RecordedTask, read_task
from tests.history.tiny import Tiny, Watcher

pytestmark = pytest.mark.process

TARGET = "app:image"
LIB = """
version = "1"
sources = [{ file = "lib-src" }]
patches = ["one.patch"]
[variables]
A = "a"
B = "b"
LEFT_OUT = "left out"
[functions]
say = 'echo said'
[tasks.make]
inputs = ["sources", "patches"]
vardepsexclude = ["LEFT_OUT"]
script = '''
: "$LEFT_OUT"
cat sources/*/* patches/* > text
say >> text
echo "$A $B" >> text
'''
[tasks.give]
after = ["make"]
outputdir = "give"
script = "cp text give/lib"
"""
GIVES = """
version = "1"
[variables]
VALUE = "1"
[tasks.give]
outputdir = "give"
script = 'echo "$PN $VALUE" > give/$PN'
"""
APP = """
version = "1"
[tasks.image]
from = ["lib:give", "other:give"]
needs = ["tool:give"]
outputdir = "out"
script = 'ls "$RECIPE_SYSROOT" > out/all; cat give/* "$RECIPE_SYSROOT"/* >> out/all'
"""
BASE = {
    "lib.toml": LIB,
    "lib-src/text": "source\n",
    "one.patch": "patch\n",
    "other.toml": GIVES,
    "tool.toml": GIVES,
    "more.toml": GIVES,
    "app.toml": APP,
}
OTHER = {"other.toml": GIVES.replace('"1"\n[tasks', '"2"\n[tasks')}
"""An additional change with every edit."""


Texts = dict[str, str]
Edit = Callable[[Texts], Texts]


def edit(name: str, *steps: tuple[str, str], **files: str) -> Edit:
    """Return an edit of one recipe, as pairs of old and new text, that also writes other files."""

    def apply(texts: Texts) -> Texts:
        text = texts[f"{name}.toml"]
        for old, new in steps:
            assert old in text
            text = text.replace(old, new)
        return {
            **texts,
            f"{name}.toml": text,
            **{path.replace("__", "/"): each for path, each in files.items()},
        }

    return apply


EDITS = {
    "a variable": edit("lib", ('A = "a"', 'A = "a2"')),
    "a script": edit("lib", ("say >> text", "say >> text; say >> text")),
    "a function": edit("lib", ("echo said", "echo sung")),
    "a source": edit("lib", **{"lib-src/text": "another source\n"}),
    "a source added": edit(
        "lib", ("sources = [", 'sources = [{ file = "more-src" }, '), **{"more-src/t": "new\n"}
    ),
    "a source of another name": edit(
        "lib", ('"lib-src"', '"new-src"'), **{"new-src/text": "new\n"}
    ),
    "a patch": edit("lib", **{"one.patch": "another patch\n"}),
    "a patch added": edit(
        "lib", ('"one.patch"', '"one.patch", "two.patch"'), **{"two.patch": "two\n"}
    ),
    "a patch added before": edit(
        "lib", ('"one.patch"', '"zero.patch", "one.patch"'), **{"zero.patch": "0\n"}
    ),
    "a patch removed": edit("lib", ('"one.patch"', ""), (" patches/*", "")),
    "a dependency added": edit("app", ('"other:give"]', '"other:give", "more:give"]')),
    "a dependency removed": edit("app", ('"lib:give", ', "")),
    "a dependency put first": edit(
        "app", ("from = [", 'from = ["third:give", '), **{"third.toml": GIVES}
    ),
    "in a sysroot added": edit(
        "app", ("needs = [", 'needs = ["fourth:give", '), **{"fourth.toml": GIVES}
    ),
    "in a sysroot removed": edit("app", ('"tool:give"', ""), ('"$RECIPE_SYSROOT"/*', "")),
    "another tool": edit("app", ('"tool:give"', '"fifth:give"'), **{"fifth.toml": GIVES}),
    "host tools": edit("lib", ("[tasks.make]", '[tasks.make]\nhosttools = ["head"]')),
    "host tools of another": edit("app", ("[tasks.image]", '[tasks.image]\nhosttools = ["head"]')),
    "a variable in vardepsexclude": edit("lib", ('"left out"', '"left out too"')),
    "a variable more in vardepsexclude": edit("lib", ('["LEFT_OUT"', '["LEFT_OUT", "B"')),
    "no variable in vardepsexclude": edit(
        "lib", ('["LEFT_OUT"', "["), ('"$LEFT_OUT"', '"$LEFT_OUT!"')
    ),
    "another folder": edit("app", ('"out"', '"result"'), (" out/", " result/")),
    "a folder of what is taken": edit("tool", ('"give"', '"gift"'), ("> give/", "> gift/")),
    "a task between": edit(
        "lib",
        ('after = ["make"]', 'after = ["more"]'),
        (
            "[tasks.give]",
            '[tasks.more]\nafter = ["make"]\nscript = "echo more >> text"\n[tasks.give]',
        ),
    ),
    "the version": edit("lib", ('version = "1"', 'version = "2"'), ('B = "b"', 'B = "${PV}"')),
    "a comment": edit("lib", ("cat sources", "# say it\ncat sources")),
}
EDIT_OTHER = edit("other", ('"1"\n[tasks', '"2"\n[tasks'))
"""An additional change with every edit."""
PAIRS = [
    ("a variable", "a script"),
    ("a variable", "a function"),
    ("a variable", "a variable more in vardepsexclude"),
    ("a source added", "a source"),
    ("a source added", "a patch"),
    ("a patch added", "a patch"),
    ("a script", "a task between"),
    ("a dependency added", "a dependency put first"),
    ("a dependency added", "a dependency removed"),
    ("a dependency added", "in a sysroot added"),
    ("in a sysroot added", "another tool"),
    ("in a sysroot added", "another folder"),
    ("another folder", "a dependency removed"),
    ("a folder of what is taken", "in a sysroot added"),
    ("host tools", "no variable in vardepsexclude"),
    ("host tools of another", "a dependency added"),
]
"""Edits of one task."""


def recorded(project: Tiny) -> dict[TaskKey, RecordedTask]:
    """Return all tasks of the last build."""
    build, store = project.latest(), project.store
    keys = [key for recipe in build.recipes() for key in build.lines(recipe)]
    return {key: read_task(store, key, run_in(build, key).commit) for key in keys}


def steps(causes: Iterable[CauseGroup]) -> list[InputStep]:
    return [
        InputStep(each.change.kind, each.change.name, each.change.new, each.tasks)
        for each in causes
        if each.change.kind != SAME_INPUTS
    ]


@contextmanager
def workshop(project: Tiny) -> Iterator[Workshop]:
    store = project.store
    sysroots = sysroots_of(store, False)
    with open_scratch(store, lambda _: sysroots, None, search_path="/usr/bin:/bin") as scratch:
        yield Workshop(
            store, sysroots, None, scratch.toolchains, scratch.folder, RunOptions(jobs=2)
        )


def ids(summary: Summary) -> dict[str, tuple[Oid | None, Oid | None]]:
    return {key: (each.task_hash, each.output) for key, each in summary.settled.items()}


def name_of(each: CauseGroup) -> tuple[object, ...]:
    return (each.change.kind, each.change.name, each.tasks)


class Pair:
    """Two builds, and their tasks."""

    def __init__(self, root: Path, good: Texts, bad: Texts) -> None:
        self.project = Tiny(root)
        self.project.build(good, TARGET)
        self.before, self.good = self.project.latest(), recorded(self.project)
        self.bad = self.good
        self.change(bad)

    def change(self, bad: Texts) -> None:
        """Build the bad one."""
        self.project.build(bad, TARGET)
        self.after, self.bad = self.project.latest(), recorded(self.project)
        self.causes = build_difference(self.project.store.objects, self.before, self.after).causes

    def made(self, choose: Callable[[CauseGroup], bool]) -> tuple[Oid | None, Summary]:
        with workshop(self.project) as shop:
            tasks = combine(
                self.project.store, self.good, self.bad, steps(filter(choose, self.causes))
            )
            return shop.build(tasks, TaskKey(TARGET), Watcher())


def of_other(each: CauseGroup) -> bool:
    return each.tasks == ("other:give",)


@pytest.mark.parametrize("name", EDITS)
def test_a_combination_equals_a_build_with_the_same_edits(tmp_path: Path, name: str) -> None:
    with_edit = EDITS[name](BASE)
    pair = Pair(tmp_path / "both", BASE, EDIT_OTHER(with_edit))
    for place, texts, choose in (
        ("edit", with_edit, lambda each: not of_other(each)),
        ("other", EDIT_OTHER(BASE), of_other),
    ):
        output, summary = pair.made(choose)
        real = ids(Tiny(tmp_path / place).build(texts, TARGET))
        assert output == real[TARGET][1]
        assert ids(summary).items() <= real.items()


@pytest.mark.parametrize("names", PAIRS, ids=" and ".join)
def test_one_of_two_changes_of_a_task(tmp_path: Path, names: tuple[str, str]) -> None:
    one, other = (EDITS[name] for name in names)
    alone = Pair(tmp_path / "one", BASE, one(BASE))
    its = set(map(name_of, alone.causes))
    pair = Pair(tmp_path / "both", BASE, other(one(BASE)))
    output, summary = pair.made(lambda each: name_of(each) in its)
    line = alone.after.line(TaskKey(TARGET))
    assert line is not None
    assert output == line.output
    for key, (task_hash, _) in ids(summary).items():
        assert task_hash == alone.after.lines(key.partition(":")[0])[TaskKey(key)].task_hash


@pytest.mark.parametrize("name", EDITS)
def test_all_changes_and_none_are_the_builds_and_nothing_runs(tmp_path: Path, name: str) -> None:
    pair = Pair(tmp_path, BASE, EDIT_OTHER(EDITS[name](BASE)))
    for build, choose in ((pair.before, lambda _each: False), (pair.after, lambda _each: True)):
        output, summary = pair.made(choose)
        line = build.line(TaskKey(TARGET))
        assert line is not None
        assert (summary.count("ran"), output) == (0, line.output)
