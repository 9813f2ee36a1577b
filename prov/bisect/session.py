"""Find the change that broke something: bisect builds, then the changes of the guilty build.

The search first tries the builds between a good and a bad one. It checks out their trees and builds
nothing. It then combines the root causes of the first bad build until it finds the fewest that are
bad. Finally it tries these on top of the original good build: they may be bad only together with an
earlier change. Each verdict is logged before the next tree is tried, so an interrupted bisection
resumes from its log.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from prov.bisect.candidates import Candidates, candidates_of, pair_in, part_of, tree_id, tree_in
from prov.bisect.changes import (
    chosen_outputs,
    identity_of,
    input_steps,
    join_recipes,
    split_by_recipe,
    title_of,
)
from prov.bisect.judge import Judge
from prov.bisect.log import Log, Question
from prov.bisect.search import (
    Boundary,
    Combine,
    Fewest,
    Try,
    Verdict,
    next_build,
    next_combination,
)
from prov.errors import ProvError, StoreError
from prov.history.causes import CauseGroup, build_difference
from prov.history.inputs import read_inputs
from prov.records.build_list import BuildList, Line
from prov.records.ids import CommitId, OutputId
from prov.records.keys import TaskKey
from prov.records.refs import RunRef
from prov.replay.combination import Workshop, combine
from prov.scheduler.summary import Progress, Summary
from prov.store.objects import Oid
from prov.store.repository import Store
from prov.tasks.job import Result
from prov.tasks.recorded import RecordedTask, read_task
from prov.text import few
from prov.worktree.attributes import Pair


class Watcher(Protocol):
    """Receives the progress of a bisection."""

    def trying(self, what: str, left: int) -> None: ...

    def verdict(self, what: str, verdict: Verdict, *, flaky: bool) -> None: ...

    def progress(self) -> Progress: ...

    def failed(self, result: Result) -> None: ...

    def built(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of a bisection."""

    good: CommitId
    bad: CommitId
    """The last good and the first bad build."""
    between: int
    """Number of builds between them that could not be judged."""
    causes: tuple[CauseGroup, ...]
    """The fewest changes of the first bad build that are bad together; empty if there are none."""
    earlier: tuple[CauseGroup, ...]
    """Earlier changes that are also required."""
    tried: int
    """Number of trees checked out for the command."""
    flaky: bool
    unbuilt: int = 0
    """Number of combinations that could not be built. If not 0, fewer changes may be enough."""
    isolated: bool = True
    """False if no combination can be built here; `causes` then has all changes of the build."""


@dataclass(slots=True)
class Bisect:
    """One bisection."""

    store: Store
    log: Log
    workshop: Workshop
    watcher: Watcher
    run_command: Callable[[Sequence[str]], int]
    judge: Judge = field(init=False)
    _unbuilt: int = 0
    _tasks: dict[Oid, dict[TaskKey, RecordedTask]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        folder = self.workshop.folder
        self.judge = Judge(self.store, self.log, folder, self.run_command, self.watcher)

    @property
    def question(self) -> Question:
        return self.judge.question

    @property
    def target(self) -> TaskKey:
        """The task with the part to judge."""
        return TaskKey(self.question.name.partition("@")[0])

    def run(self) -> Answer:
        """Run or resume the bisection until the answer.

        Raises ProvError if the question has no answer. Does not catch KeyboardInterrupt.
        """
        candidates = candidates_of(self.store, self.question)
        boundary = self._search_builds(candidates)
        self._check_ends(candidates.builds, boundary)
        good, bad = candidates.builds[boundary.good], candidates.builds[boundary.bad]
        causes = self._causes(good, bad)
        answer = Answer(
            good=good.commit,
            bad=bad.commit,
            between=boundary.bad - boundary.good - 1,
            causes=join_recipes(causes),
            earlier=(),
            tried=self.judge.checkouts,
            flaky=self.judge.flaky,
            isolated=len(causes) < 2,
        )
        if self.target not in self._tasks_of(bad):  # a BitBake task, which prov cannot rerun
            return answer
        fewest = self._fewest_by_recipe(good, bad, causes)
        earlier: list[CauseGroup] = []
        if self.question.combinations and fewest and boundary.good > 0:
            earlier = self._earlier(candidates.builds[0], bad, fewest)
        return replace(
            answer,
            causes=join_recipes(fewest),
            earlier=join_recipes(earlier),
            tried=self.judge.checkouts,
            flaky=self.judge.flaky,
            unbuilt=self._unbuilt,
            isolated=True,
        )

    # over builds

    def _search_builds(self, candidates: Candidates) -> Boundary:
        trees, verdicts = candidates.trees, self.judge.verdicts
        while isinstance(step := next_build(trees, verdicts), Try):
            build = candidates.builds[step.index]
            title = f"build {build.commit.hex()[:12]}"
            self.watcher.trying(title, step.left)
            pair = pair_in(self.store, self.question.name, build)
            assert pair is not None  # it has a tree
            self.judge.judge(pair, title)
        return step

    def _check_ends(self, builds: list[BuildList], boundary: Boundary) -> None:
        """Judge the good and the bad build themselves if no other build confirmed the command."""
        self._check_end(builds[0], builds[boundary.good], "good", "bad")
        self._check_end(builds[-1], builds[boundary.bad], "bad", "good")

    def _check_end(self, build: BuildList, judged: BuildList, given: str, other: str) -> None:
        name = self.question.name
        if tree_in(self.store, name, build) != tree_in(self.store, name, judged):
            return
        pair = pair_in(self.store, name, build)
        title = f"build {build.commit.hex()[:12]}"
        if pair is not None and self.judge.judge(pair, title) == other:
            raise ProvError(
                f"the command judges {title} as {other}, but it was given as {given}",
                hint="run `prov bisect reset`, then start with different builds or command",
            )

    # over changes

    def _causes(self, good: BuildList, bad: BuildList) -> list[CauseGroup]:
        """Return the root causes between two builds that the target depends on."""
        reached = self._reached(good) | self._reached(bad)
        groups = build_difference(self.store.objects, good, bad).causes
        narrowed = (
            replace(group, tasks=tuple(key for key in group.tasks if key in reached))
            for group in groups
        )
        return [group for group in narrowed if group.tasks]

    def _reached(self, build: BuildList) -> set[str]:
        """Return the target and its dependencies in a build, as far as inputs are stored."""
        reached: set[str] = set()
        pending = [self.target]
        while pending:
            key = pending.pop()
            line = None if key in reached else build.line(key)
            if line is not None:
                reached.add(key)
                with contextlib.suppress(StoreError):
                    inputs = read_inputs(self.store.objects, key, line.task_hash)
                    pending += [TaskKey(edge) for _, edge in inputs.edges]
        return reached

    def _tasks_of(self, build: BuildList) -> dict[TaskKey, RecordedTask]:
        """Return all recorded tasks of a build. Tasks without a record are omitted."""
        if build.commit not in self._tasks:
            tasks = {}
            for recipe in build.recipes():
                for key, line in build.lines(recipe).items():
                    commit = self.store.refs.get(str(RunRef(key, line.task_hash, line.run)))
                    if commit is None:  # built on another machine: an error only if required
                        continue
                    with contextlib.suppress(StoreError):  # from an older prov: likewise
                        tasks[key] = read_task(self.store, key, commit)
            self._tasks[build.commit] = tasks
        return self._tasks[build.commit]

    def _fewest_by_recipe(
        self, good: BuildList, bad: BuildList, causes: Sequence[CauseGroup]
    ) -> list[CauseGroup]:
        """Return the fewest changes that are bad on top of a good build, split by recipe."""
        fewest = self._fewest(good, bad, causes, [])
        parts = split_by_recipe(fewest)
        return self._fewest(good, bad, parts, []) if len(parts) > len(fewest) else fewest

    def _fewest(
        self,
        good: BuildList,
        bad: BuildList,
        causes: Sequence[CauseGroup],
        always: Sequence[CauseGroup],
    ) -> list[CauseGroup]:
        """Return the fewest changes that are bad on top of a good build together with `always`."""
        if not causes:
            return []
        verdicts: dict[frozenset[int], Verdict] = {}
        while isinstance(step := next_combination(len(causes), verdicts), Combine):
            chosen = [causes[index] for index in sorted(step.chosen)]
            verdicts[step.chosen] = self._judge(good, bad, [*always, *chosen], step.left)
        assert isinstance(step, Fewest)
        return [causes[index] for index in sorted(step.chosen)]

    def _earlier(
        self, first: BuildList, bad: BuildList, fewest: list[CauseGroup]
    ) -> list[CauseGroup]:
        """Return the changes before the guilty build without which its changes are not bad."""
        causes = split_by_recipe(self._causes(first, bad))
        guilty = {identity_of(group) for group in split_by_recipe(fewest)}
        always = [group for group in causes if identity_of(group) in guilty]
        others = [group for group in causes if identity_of(group) not in guilty]
        if not others or {identity_of(group) for group in always} != guilty:
            return []
        if self._judge(first, bad, always, 1) != "good":
            return []
        return self._fewest(first, bad, others, always)

    # combinations

    def _judge(
        self, good: BuildList, bad: BuildList, chosen: Sequence[CauseGroup], left: int
    ) -> Verdict:
        """Return the verdict on a good build with some changes of a bad build."""
        title = f"{good.commit.hex()[:12]} with {few(map(title_of, chosen))}"
        self.watcher.trying(title, left)
        pair = self._build(good, bad, chosen)
        if pair is None:
            self._unbuilt += 1
            self.watcher.verdict(f"{title} (cannot be built)", "skip", flaky=False)
            return "skip"
        if tree_id(pair) == tree_in(self.store, self.question.name, good):
            return "good"
        if tree_id(pair) == tree_in(self.store, self.question.name, bad):
            return "bad"
        return self.judge.judge(pair, title)

    def _build(self, good: BuildList, bad: BuildList, chosen: Sequence[CauseGroup]) -> Pair | None:
        """Build a combination of two builds and return the part to judge, None if that failed."""
        tasks = combine(self.store, self._tasks_of(good), self._tasks_of(bad), input_steps(chosen))
        outputs = chosen_outputs(good, bad, chosen)
        try:
            output, summary = self.workshop.build(
                tasks, self.target, self.watcher.progress(), outputs=outputs
            )
        finally:
            self.watcher.built()
        self._check_summary(summary)
        if output is None:
            return None
        settled = summary.settled[self.target]
        assert settled.task_hash is not None
        line = Line(self.target, settled.task_hash, OutputId(output), settled.number)
        return part_of(self.store, line, self.question.name.partition("@")[2])

    def _check_summary(self, summary: Summary) -> None:
        """Raise KeyboardInterrupt or ProvError for a build that failed for unrelated reasons."""
        if summary.interrupted:
            raise KeyboardInterrupt
        for failed in summary.failed:
            self.watcher.failed(failed)
            if failed.environment:
                raise ProvError(
                    f"cannot run {failed.key}: {failed.problem}",
                    hint="fix the problem, then run `prov bisect continue`",
                )
