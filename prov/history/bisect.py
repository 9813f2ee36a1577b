"""Which change broke it: a bisection over builds, then over what changed in the guilty step.

First the builds between a good and a bad one are tried: their trees are checked out, nothing is built. Where it turns
bad, the root causes of that step are combined, until the fewest that are bad are found; then it is asked whether they
are bad on top of the good build, too, or only together with something that changed in between. Every verdict is
written to a log before the next is asked for: who goes on after an interruption reads the log and is where he was.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from prov.build.builds import BuildList
from prov.build.mixture import InputStep, Workshop, mixture
from prov.build.record import read_pair
from prov.build.recorded import RecordedTask, read_task
from prov.build.run import Progress
from prov.errors import NameUnknown, ProvError
from prov.files import replace_file
from prov.history.bisection import (
    Combine,
    Fewest,
    Step,
    Try,
    Verdict,
    joint_verdict,
    next_build,
    next_combination,
)
from prov.history.builds import find_build
from prov.history.causes import SAME_INPUTS, CauseGroup, build_difference
from prov.history.names import find, run_in
from prov.store.objects import Oid
from prov.store.repository import Store
from prov.worktree.attributes import Pair
from prov.worktree.checkout import checkout

SKIP = 125
"""git's: the exit status that says that it can't be told."""
PLACE = "{}"
"""In a command, what stands for the directory; otherwise that is the last argument."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is bisected: two builds, what of them is checked out, and the command that judges it."""

    good: str
    bad: str
    """Ids of builds."""
    name: str
    """What a command gets: `image:image@output`, without a build."""
    command: tuple[str, ...]
    repeat: int = 1


class Watcher(Protocol):
    """What a bisection tells while it goes on."""

    def trying(self, what: str, left: int) -> None: ...

    def verdict(self, what: str, verdict: Verdict, *, flaky: bool) -> None: ...

    def progress(self) -> Progress: ...

    def built(self) -> None: ...


@dataclass(slots=True)
class Log:
    """The question and all verdicts, a line of JSON each; whole lines alone count."""

    path: Path

    def read(self) -> tuple[Question, dict[str, Verdict]]:
        """Return the question and the verdicts so far, by tree. Raises ProvError where there is none."""
        try:
            lines = self.path.read_text().splitlines(keepends=True)
        except FileNotFoundError as error:
            raise ProvError("no bisection is going on", hint="`prov bisect start`") from error
        try:
            rows = [json.loads(line) for line in lines if line.endswith("\n")]
            question = {**rows[0]["question"], "command": tuple(rows[0]["question"]["command"])}
            return Question(**question), {row["tree"]: row["verdict"] for row in rows[1:]}
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise ProvError(f"{self.path} is no log of a bisection: {error}", hint="`prov bisect reset`") from error

    def begin(self, question: Question) -> None:
        line = json.dumps({"question": asdict(question)}) + "\n"
        replace_file(self.path, line.encode())

    def add(self, tree: str, verdict: Verdict, what: str, *, flaky: bool) -> None:
        """Append a verdict, durably."""
        with open(self.path, "ab") as stream:
            stream.write(json.dumps({"tree": tree, "verdict": verdict, "of": what, "flaky": flaky}).encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found."""

    good: Oid
    bad: Oid
    """The last good build and the first bad one."""
    between: int
    """How many builds between them could not be told."""
    causes: tuple[CauseGroup, ...]
    """The fewest changes that are bad together, of that step; empty if no change of inputs explains it."""
    earlier: tuple[CauseGroup, ...]
    """What else has to be there, and changed before that step."""
    tried: int
    """How many trees were checked out for the command."""
    flaky: bool


@dataclass(slots=True)
class Bisect:
    """One bisection."""

    store: Store
    log: Log
    workshop: Workshop
    watcher: Watcher
    judge: Callable[[Sequence[str], Path], int] = field(default=lambda command, _place: run_command(command))
    question: Question = field(init=False)
    verdicts: dict[str, Verdict] = field(init=False)
    _tried: int = 0
    _flaky: bool = False
    _tasks: dict[Oid, dict[str, RecordedTask]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.question, self.verdicts = self.log.read()

    def run(self, *, combinations: bool = True) -> Answer:
        """Go on to the end. Raises ProvError where the question can't be answered; KeyboardInterrupt goes through."""
        builds = self.line()
        trees = [self.tree_in(build) for build in builds]
        if trees[0] is None or trees[-1] is None:
            missing = builds[0] if trees[0] is None else builds[-1]
            raise NameUnknown(f"build {missing.commit.hex()[:12]} has no {self.question.name}", hint="`prov show`")
        if trees[0] == trees[-1]:
            raise ProvError(
                f"{self.question.name} is the same in the good build and the bad one",
                hint="is the command about something else? --of names what it gets",
            )
        step = self.over_builds(builds, trees)
        good, bad = builds[step.good], builds[step.bad]
        causes = self.causes(good, bad)
        fewest = self.over_causes(good, bad, causes, [])
        earlier: list[CauseGroup] = []
        if combinations and fewest and step.good > 0:
            earlier = self.together(builds[0], bad, fewest)
        between = step.bad - step.good - 1
        return Answer(good.commit, bad.commit, between, tuple(fewest), tuple(earlier), self._tried, self._flaky)

    def line(self) -> list[BuildList]:
        """Return the builds from the good one to the bad one."""
        good, bad = (find_build(self.store, name) for name in (self.question.good, self.question.bad))
        builds = [bad]
        while builds[-1].commit != good.commit:
            before = builds[-1].before()
            if before is None:
                raise ProvError(
                    f"build {good.commit.hex()[:12]} is not before {bad.commit.hex()[:12]}",
                    hint="the good one is the older; to find what mended something, let the command say the opposite",
                )
            builds.append(before)
        return builds[::-1]

    # what is checked out

    def pair_in(self, build: BuildList) -> Pair | None:
        try:
            return find(self.store, f"{build.commit.hex()}/{self.question.name}").pair
        except NameUnknown:
            return None

    def tree_in(self, build: BuildList) -> str | None:
        key = self.question.name.partition("@")[0]
        if build.line(key) is None:  # not built, or failed
            return None
        pair = self.pair_in(build)
        return tree_id(pair) if pair is not None else None

    def tell(self, pair: Pair, what: str) -> Verdict:
        """Return the verdict on a tree: the one that is known, or the command's."""
        tree = tree_id(pair)
        known = self.verdicts.get(tree)
        if known is not None:
            return known
        with tempfile.TemporaryDirectory(prefix="prov-bisect-") as folder:
            place = Path(folder, "tree")
            checkout(self.store.objects, place, pair)
            self._tried += 1
            verdict, flaky = joint_verdict(list(self._judged(place)))
        self._flaky |= flaky
        self.log.add(tree, verdict, what, flaky=flaky)
        self.verdicts[tree] = verdict
        self.watcher.verdict(what, verdict, flaky=flaky)
        return verdict

    def _judged(self, place: Path) -> Iterator[Verdict]:
        words = self.question.command
        command = [word.replace(PLACE, str(place)) for word in words]
        command = command if command != list(words) else [*words, str(place)]
        for _ in range(self.question.repeat):
            verdict = verdict_of(self.judge(command, place))
            yield verdict
            if verdict == "bad":
                return

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
        tasks = self.tasks(build)
        found: set[str] = set()
        pending = [target]
        while pending:
            key = pending.pop()
            if key in tasks and key not in found:
                found.add(key)
                pending += tasks[key].edges
        return found

    def tasks(self, build: BuildList) -> dict[str, RecordedTask]:
        """Return all tasks that a build has, as recorded; those without a record are left out."""
        if build.commit not in self._tasks:
            found = {}
            for recipe in build.recipes():
                for key in build.lines(recipe):
                    try:
                        found[key] = read_task(self.store, key, run_in(build, key).commit)
                    except ProvError:  # from elsewhere, or an older prov: told when it is needed
                        continue
            self._tasks[build.commit] = found
        return self._tasks[build.commit]

    def over_causes(
        self, good: BuildList, bad: BuildList, causes: Sequence[CauseGroup], always: Sequence[CauseGroup]
    ) -> list[CauseGroup]:
        """Return the fewest changes that are bad on top of a good build, together with those that are `always` made."""
        if not causes:
            return []
        known: dict[frozenset[int], Verdict] = {}
        while isinstance(found := next_combination(len(causes), known), Combine):
            chosen = [causes[index] for index in sorted(found.chosen)]
            known[found.chosen] = self.combination(good, bad, [*always, *chosen], found.left)
        assert isinstance(found, Fewest)
        return [causes[index] for index in sorted(found.chosen)]

    def combination(self, good: BuildList, bad: BuildList, chosen: Sequence[CauseGroup], left: int) -> Verdict:
        what = f"{good.commit.hex()[:12]} with {', '.join(each.title for each in chosen)}"
        self.watcher.trying(what, left)
        pair = self.built(good, bad, chosen)
        if pair is None:
            self.watcher.verdict(what, "skip", flaky=False)
            return "skip"
        if tree_id(pair) in (self.tree_in(good), self.tree_in(bad)):
            return "good" if tree_id(pair) == self.tree_in(good) else "bad"
        return self.tell(pair, what)

    def built(self, good: BuildList, bad: BuildList, chosen: Sequence[CauseGroup]) -> Pair | None:
        """Build a mixture of two builds and return what the command gets of it; None if it can't be built."""
        target, _, part = self.question.name.partition("@")
        steps = [
            InputStep(each.change.kind, each.change.name, each.change.new, each.tasks)
            for each in chosen
            if each.change.kind != SAME_INPUTS
        ]
        tasks = mixture(self.store, self.tasks(good), self.tasks(bad), steps)
        output, _ = self.workshop.build(
            tasks, target, self.watcher.progress(), outputs=self._outputs(good, bad, chosen)
        )
        self.watcher.built()
        if output is None:
            return None
        pair = read_pair(self.store.objects, output)
        folder = part.partition("/")[2]
        if not part.startswith("output"):
            raise ProvError(
                f"{self.question.name}: combinations of changes can be judged by an output alone",
                hint=f"--of {target}@output",
            )
        return _below(self.store, pair, folder)

    @staticmethod
    def _outputs(good: BuildList, bad: BuildList, chosen: Sequence[CauseGroup]) -> Mapping[tuple[str, Oid], Oid]:
        """Return which output stands for a hash that led to another in each build: the good one's, unless chosen."""
        other = {key for each in chosen if each.change.kind == SAME_INPUTS for key in each.tasks}
        found = {}
        for recipe in good.recipes():
            for key, line in good.lines(recipe).items():
                there = bad.line(key)
                if there is not None and there.task_hash == line.task_hash and there.output != line.output:
                    output = there.output if key in other else line.output
                    if output is not None:
                        found[key, line.task_hash] = output
        return found

    def together(self, first: BuildList, bad: BuildList, fewest: list[CauseGroup]) -> list[CauseGroup]:
        """Return what changed between the first good build and the guilty step without which that does no harm."""
        there = self.causes(first, bad)
        names = {_name(each) for each in fewest}
        always = [each for each in there if _name(each) in names]
        others = [each for each in there if _name(each) not in names]
        if not others or len(always) != len(names):
            return []
        if self.combination(first, bad, always, 1) != "good":
            return []
        return self.over_causes(first, bad, others, always)


def _name(each: CauseGroup) -> tuple[object, ...]:
    """Return what two differences that end at the same build have in common of one change."""
    change = each.change
    return change.kind, change.name, change.new and change.new.oid, each.tasks if change.kind == SAME_INPUTS else ()


def _below(store: Store, pair: Pair, folder: str) -> Pair | None:
    from prov.worktree.attributes import at_path

    node = at_path(store.objects, pair, os.fsencode(folder))
    return node.pair if node is not None and node.is_directory else None


def tree_id(pair: Pair) -> str:
    """Return the id by which trees are told apart."""
    return f"{pair.tree.hex()}{f'+{pair.attributes.hex()}' if pair.attributes else ''}"


def run_command(command: Sequence[str]) -> int:
    """Run a command on the caller's terminal and return its exit status. Raises ProvError where there is none."""
    try:
        return subprocess.run(command, check=False).returncode
    except OSError as error:
        hint = "name a command by its path, as in ./test.sh"
        raise ProvError(f"{command[0]}: {error.strerror}", hint=hint) from error


def verdict_of(code: int) -> Verdict:
    """Return what an exit status says. As with git, 128 and more, and signals, end the bisection: ProvError."""
    if code == 0:
        return "good"
    if code == SKIP:
        return "skip"
    if code >= 128 or code < 0:
        raise ProvError(f"the command ended with {code}, which is no verdict", hint="`prov bisect continue` asks again")
    return "bad"


def describe(store: Store, answer: Answer) -> str:
    """Return the end of a bisection in one sentence."""
    bad = answer.bad.hex()[:12]
    if not answer.causes:
        return f"build {bad} is the first bad one, and no recorded change of an input explains it"
    words = _and(_cause(store, each) for each in answer.causes)
    together = f", together with {_and(_cause(store, each) for each in answer.earlier)}" if answer.earlier else ""
    since = f"build {bad}" if not answer.between else f"build {bad} or one of the {answer.between} before it"
    return f"{words} broke it in {since}{together}"


def _cause(store: Store, each: CauseGroup) -> str:
    first = each.tasks[0]
    more = f" and {len(each.tasks) - 1} more" if len(each.tasks) > 1 else ""
    if each.change.kind == SAME_INPUTS:
        return each.title
    return f"{each.title}{commits_of(store, each)} in {first}{more}"


def commits_of(store: Store, each: CauseGroup) -> str:
    """Return the range of commits where a git source changed, as words; nothing for all else."""
    change = each.change
    if change.kind != "source" or change.old is None or change.new is None:
        return ""
    old, new = (store.objects.read(entry.oid)[1] for entry in (change.old, change.new))
    if not (old.startswith(b"git ") and new.startswith(b"git ")):
        return ""
    return f" (commits {old[4:].decode().strip()}..{new[4:].decode().strip()})"


def _and(words: Iterable[str]) -> str:
    *first, last = list(words)
    return f"{', '.join(first)} and {last}" if first else last


def rows(log: Log) -> list[dict[str, Any]]:
    """Return a log's verdicts in their order. Raises ProvError where there is no log."""
    log.read()
    return [json.loads(line) for line in log.path.read_text().splitlines()[1:]]
