"""Which change broke it: a bisection over builds, then over what changed in the guilty step.

First the builds between a good and a bad one are tried: their trees are checked out, nothing is
built. Where it turns bad, the root causes of that step are combined, until the fewest that are bad
are found; then it is asked whether they are bad on top of the good build, too, or only together
with something that changed in between. Every verdict is written to a log before the next is asked
for: who goes on after an interruption reads the log and is where he was.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Protocol

from prov.bisect.candidates import compared, pair_in, part_of, tree_id, tree_in
from prov.bisect.command import NOT_FOUND, verdict_of
from prov.bisect.log import Log, Question
from prov.bisect.search import (
    Combine,
    Fewest,
    Step,
    Try,
    Verdict,
    joint_verdict,
    next_build,
    next_combination,
)
from prov.errors import ProvError, StoreError
from prov.history.builds import find_build
from prov.history.causes import SAME_INPUTS, CauseGroup, build_difference
from prov.history.inputs import read_inputs
from prov.records.build_list import BuildList, Line
from prov.records.ids import CommitId, OutputId, TaskHash
from prov.records.keys import TaskKey
from prov.records.refs import RunRef
from prov.replay.combination import InputStep, Workshop, mixture
from prov.scheduler.summary import Progress
from prov.store.objects import Oid
from prov.store.repository import Store
from prov.tasks.job import Result
from prov.tasks.recorded import RecordedTask, read_task
from prov.text import few
from prov.worktree.attributes import Pair
from prov.worktree.checkout import checkout

PLACE = "{}"
"""In a command, what stands for the directory; otherwise that is the last argument."""


class Watcher(Protocol):
    """What a bisection tells while it goes on."""

    def trying(self, what: str, left: int) -> None: ...

    def verdict(self, what: str, verdict: Verdict, *, flaky: bool) -> None: ...

    def progress(self) -> Progress: ...

    def failed(self, result: Result) -> None: ...

    def built(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found."""

    good: CommitId
    bad: CommitId
    """The last good build and the first bad one."""
    between: int
    """How many builds between them could not be told."""
    causes: tuple[CauseGroup, ...]
    """The fewest changes that are bad together, of that step; empty if no change of inputs explains
    it.
    """
    earlier: tuple[CauseGroup, ...]
    """What else has to be there, and changed before that step."""
    tried: int
    """How many trees were checked out for the command."""
    flaky: bool
    untold: int = 0
    """How many combinations could not be built: fewer changes may do."""
    apart: bool = True
    """False where no combination can be built here, so that all changes of the step are named."""


@dataclass(slots=True)
class Bisect:
    """One bisection."""

    store: Store
    log: Log
    workshop: Workshop
    watcher: Watcher
    judge: Callable[[Sequence[str]], int]
    question: Question = field(init=False)
    verdicts: dict[str, Verdict] = field(init=False)
    _tried: int = 0
    _untold: int = 0
    _usable: bool = False
    _flaky: bool = field(init=False)
    _tasks: dict[Oid, dict[TaskKey, RecordedTask]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        said = self.log.read()
        self.question, self.verdicts, self._flaky = said.question, said.verdicts, said.flaky

    def run(self) -> Answer:
        """Go on to the end.

        Raises ProvError where the question can't be answered; KeyboardInterrupt goes through.
        """
        builds, trees = compared(self.store, self.question)
        step = self.over_builds(builds, trees)
        self._check_ends(builds, step)
        good, bad = builds[step.good], builds[step.bad]
        causes = self.causes(good, bad)
        between = step.bad - step.good - 1
        if self.question.name.partition("@")[0] not in self.tasks(
            bad
        ):  # BitBake's: it is not ours to run again
            alone = len(causes) < 2
            return Answer(
                good.commit,
                bad.commit,
                between,
                _joined(causes),
                (),
                self._tried,
                self._flaky,
                apart=alone,
            )
        fewest = self.over_causes(good, bad, causes, [])
        parts = _by_recipe(fewest)
        if len(parts) > len(fewest):
            fewest = self.over_causes(good, bad, parts, [])
        earlier: list[CauseGroup] = []
        if self.question.combinations and fewest and step.good > 0:
            earlier = self.together(builds[0], bad, fewest)
        found = _joined(fewest), _joined(earlier)
        return Answer(
            good.commit, bad.commit, between, *found, self._tried, self._flaky, self._untold
        )

    def _check_ends(self, builds: list[BuildList], step: Step) -> None:
        """Ask about the good and the bad build where nothing else was found to be so: is the
        command the right one?
        """
        ends = (
            (builds[0], builds[step.good], "good", "bad"),
            (builds[-1], builds[step.bad], "bad", "good"),
        )
        for build, found, told, other in ends:
            pair = self.pair_in(build) if self.tree_in(build) == self.tree_in(found) else None
            if pair is not None and self.tell(pair, f"build {build.commit.hex()[:12]}") == other:
                raise ProvError(
                    f"the command says that build {build.commit.hex()[:12]} is {other}, which was"
                    f" given as {told}",
                    hint="`prov bisect reset`, then start with other builds or another command",
                )

    # what is checked out

    def pair_in(self, build: BuildList) -> Pair | None:
        return pair_in(self.store, self.question.name, build)

    def tree_in(self, build: BuildList) -> str | None:
        return tree_in(self.store, self.question.name, build)

    def tell(self, pair: Pair, what: str) -> Verdict:
        """Return the verdict on a tree: the one that is known, or the command's."""
        tree = tree_id(pair)
        known = self.verdicts.get(tree)
        if known is not None:
            return known
        self._tried += 1
        verdict, flaky = joint_verdict(list(self._judged(pair)))
        self._flaky |= flaky
        self.log.add(tree, verdict, what, flaky=flaky)
        self.verdicts[tree] = verdict
        self.watcher.verdict(what, verdict, flaky=flaky)
        return verdict

    def _judged(self, pair: Pair) -> Iterator[Verdict]:
        for _ in range(self.question.repeat):
            code = self._asked(pair)
            if code in NOT_FOUND and not self._usable:
                self._check_usable()
            verdict = verdict_of(code)
            yield verdict
            if verdict == "bad":
                return

    def _asked(self, pair: Pair) -> int:
        """Run the command with a tree of its own, which it may change, and return how it ended."""
        words = self.question.command
        with tempfile.TemporaryDirectory(dir=self.workshop.folder) as folder:
            place = Path(folder, "tree")
            checkout(self.store.objects, place, pair)
            command = [word.replace(PLACE, str(place)) for word in words]
            return self.judge(command if command != list(words) else [*words, str(place)])

    def _check_usable(self) -> None:
        """Ask about the good build: what is not found there, too, is a mistake in the command.

        As git does.
        """
        pair = self.pair_in(find_build(self.store, self.question.good))
        assert pair is not None  # it has a tree
        code = self._asked(pair)
        if code in NOT_FOUND:
            raise ProvError(
                f"the command ends with {code} for the good build, too: a program that it names"
                " can't be run",
                hint=(
                    "`prov bisect reset`, then start with another; or mend it, and `prov bisect"
                    " continue`"
                ),
            )
        self._usable = True

    # over builds

    def over_builds(self, builds: list[BuildList], trees: list[str | None]) -> Step:
        while isinstance(found := next_build(trees, self.verdicts), Try):
            build = builds[found.index]
            what = f"build {build.commit.hex()[:12]}"
            self.watcher.trying(what, found.left)
            pair = self.pair_in(build)
            assert pair is not None  # it has a tree
            self.tell(pair, what)
        return found

    # over changes

    def causes(self, good: BuildList, bad: BuildList) -> list[CauseGroup]:
        """Return the root causes of a step that the target depends on."""
        target = self.question.name.partition("@")[0]
        reached = self.reached(good, target) | self.reached(bad, target)
        found = []
        for each in build_difference(self.store.objects, good, bad).causes:
            tasks = tuple(key for key in each.tasks if key in reached)
            if tasks:
                found.append(replace(each, tasks=tasks))
        return found

    def reached(self, build: BuildList, target: str) -> set[str]:
        """Return all tasks of a build that a task goes back to, and that one, as far as inputs are
        here.
        """
        found: set[str] = set()
        pending = [target]
        while pending:
            key = pending.pop()
            line = None if key in found else build.line(TaskKey(key))
            if line is not None:
                found.add(key)
                with contextlib.suppress(StoreError):
                    pending += [
                        edge
                        for _, edge in read_inputs(
                            self.store.objects, TaskKey(key), line.task_hash
                        ).edges
                    ]
        return found

    def tasks(self, build: BuildList) -> dict[TaskKey, RecordedTask]:
        """Return all tasks that a build has, as recorded; those without a record are left out."""
        if build.commit not in self._tasks:
            found = {}
            for recipe in build.recipes():
                for key, line in build.lines(recipe).items():
                    commit = self.store.refs.get(
                        f"{RunRef(key, line.task_hash, 1).prefix}/{line.run}"
                    )
                    if commit is None:  # built elsewhere: told when it is needed
                        continue
                    with contextlib.suppress(StoreError):  # from an older prov: the same
                        found[key] = read_task(self.store, key, commit)
            self._tasks[build.commit] = found
        return self._tasks[build.commit]

    def over_causes(
        self,
        good: BuildList,
        bad: BuildList,
        causes: Sequence[CauseGroup],
        always: Sequence[CauseGroup],
    ) -> list[CauseGroup]:
        """Return the fewest changes that are bad on top of a good build, together with those that
        are `always` made.
        """
        if not causes:
            return []
        known: dict[frozenset[int], Verdict] = {}
        while isinstance(found := next_combination(len(causes), known), Combine):
            chosen = [causes[index] for index in sorted(found.chosen)]
            known[found.chosen] = self.combination(good, bad, [*always, *chosen], found.left)
        assert isinstance(found, Fewest)
        return [causes[index] for index in sorted(found.chosen)]

    def combination(
        self, good: BuildList, bad: BuildList, chosen: Sequence[CauseGroup], left: int
    ) -> Verdict:
        what = f"{good.commit.hex()[:12]} with {few(map(_title, chosen))}"
        self.watcher.trying(what, left)
        pair = self.built(good, bad, chosen)
        if pair is None:
            self._untold += 1
            self.watcher.verdict(f"{what}, which can't be built", "skip", flaky=False)
            return "skip"
        if tree_id(pair) in (self.tree_in(good), self.tree_in(bad)):
            return "good" if tree_id(pair) == self.tree_in(good) else "bad"
        return self.tell(pair, what)

    def built(self, good: BuildList, bad: BuildList, chosen: Sequence[CauseGroup]) -> Pair | None:
        """Build a mixture of two builds and return what the command gets of it; None if it can't be
        built.
        """
        target, _, part = self.question.name.partition("@")
        steps = [
            InputStep(each.change.kind, each.change.name, each.change.new, each.tasks)
            for each in chosen
            if each.change.kind != SAME_INPUTS
        ]
        tasks = mixture(self.store, self.tasks(good), self.tasks(bad), steps)
        outputs = self._outputs(good, bad, chosen)
        try:
            output, summary = self.workshop.build(
                tasks, TaskKey(target), self.watcher.progress(), outputs=outputs
            )
        finally:
            self.watcher.built()
        if summary.interrupted:
            raise KeyboardInterrupt
        for failed in summary.failed:
            self.watcher.failed(failed)
            if failed.environment:
                raise ProvError(
                    f"{failed.key} can't be run here: {failed.problem}",
                    hint="mend that, then `prov bisect continue`",
                )
        if output is None:
            return None
        settled = summary.settled[TaskKey(target)]
        assert settled.task_hash is not None
        return part_of(
            self.store,
            Line(TaskKey(target), settled.task_hash, OutputId(output), settled.number),
            part,
        )

    @staticmethod
    def _outputs(
        good: BuildList, bad: BuildList, chosen: Sequence[CauseGroup]
    ) -> Mapping[tuple[TaskKey, TaskHash], OutputId]:
        """Return which output stands for a task hash: the good build's, else the bad one's, or as
        chosen.
        """
        found = {}
        for build in (bad, good):
            for recipe in build.recipes():
                for key, line in build.lines(recipe).items():
                    if line.output is not None:
                        found[key, line.task_hash] = line.output
        for key in (
            key for each in chosen if each.change.kind == SAME_INPUTS for key in each.tasks
        ):
            line = bad.lines(key.recipe)[key]
            if line.output is not None:
                found[key, line.task_hash] = line.output
        return found

    def together(
        self, first: BuildList, bad: BuildList, fewest: list[CauseGroup]
    ) -> list[CauseGroup]:
        """Return what changed between the first good build and the guilty step without which that
        does no harm.
        """
        there = _by_recipe(self.causes(first, bad))
        names = {_name(each) for each in _by_recipe(fewest)}
        always = [each for each in there if _name(each) in names]
        others = [each for each in there if _name(each) not in names]
        if not others or {_name(each) for each in always} != names:
            return []
        if self.combination(first, bad, always, 1) != "good":
            return []
        return self.over_causes(first, bad, others, always)


def _name(each: CauseGroup) -> tuple[object, ...]:
    """Return what two differences that end at the same build have in common of one change."""
    change = each.change
    where = each.tasks[0] if change.kind == SAME_INPUTS else each.tasks[0].recipe
    return change.kind, change.name, change.new and change.new.oid, where


def _title(each: CauseGroup) -> str:
    recipes = (key.recipe for key in each.tasks)
    return (
        each.title
        if each.change.kind == SAME_INPUTS
        else f"{each.title} in {' and '.join(dict.fromkeys(recipes))}"
    )


def _by_recipe(causes: Iterable[CauseGroup]) -> list[CauseGroup]:
    """Return changes apart that are the same in several recipes."""
    found = []
    for each in causes:
        for _, tasks in groupby(sorted(each.tasks), lambda key: key.recipe):
            found.append(replace(each, tasks=tuple(tasks)))
    return found


def _joined(causes: Iterable[CauseGroup]) -> tuple[CauseGroup, ...]:
    """Return changes that are the same in several recipes as one."""
    found: dict[object, CauseGroup] = {}
    for each in causes:
        name = each.tasks if each.change.kind == SAME_INPUTS else each.change
        known = found.get(name)
        found[name] = replace(each, tasks=(*known.tasks, *each.tasks)) if known else each
    return tuple(found.values())
