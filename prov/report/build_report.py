"""Read a build and its changes since the previous build, for a page or a drawing."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

from prov.errors import NameUnknown, StoreError
from prov.history.causes import BuildDifference, TaskDifference, build_difference
from prov.history.diff import diff_pairs
from prov.history.inputs import Inputs, difference_text, read_inputs
from prov.history.names import run_in
from prov.history.producers import lines_with_failures
from prov.records.build_list import BuildList, Line, Span
from prov.records.entries import LOG
from prov.records.keys import TaskKey
from prov.records.labels import labels_of
from prov.records.lookup import Records
from prov.records.outcomes import outcome_text
from prov.report.drawing import Drawn
from prov.report.page import WORKED, BuildHead, CauseCard, ChangedInput, RecipeRow, Report, TaskCard
from prov.store.objects import MODE_DIRECTORY
from prov.store.repository import Store

LOG_LINES = 400
"""Maximum number of log lines on the page, from the end of the log."""
LONGEST = 4000
"""Maximum number of characters of an input's text."""
MOST_CHANGES = 200
COUNTS = ("ran", "restored", "fetched", "skipped", "failed", "stale", "up to date", "not built")


def report(store: Store, build: BuildList) -> Report:
    """Return the content of a build's page."""
    before = build.before()
    difference = build_difference(store.objects, before, build) if before else None
    cards = _Cards(store, build, difference)
    tasks = tuple(cards.card(key) for key in cards.keys)
    return Report(
        build=_head(store, build, tasks),
        before=_head(store, before, ()) if before else None,
        tasks=tasks,
        causes=_causes(store, difference, tasks) if difference else (),
        recipes=_recipes(build, tasks),
    )


def drawn(store: Store, build: BuildList) -> list[Drawn]:
    """Return a build's graph for a drawing."""
    before = build.before()
    cards = _Cards(store, build, build_difference(store.objects, before, build) if before else None)
    return [Drawn(key, cards.what(key), cards.edges(key), cards.is_root(key)) for key in cards.keys]


class _RunTexts(NamedTuple):
    """A run's tag, its changes, the end of its log, the reason for a failure, and the worker."""

    tag: str
    changes: tuple[str, ...]
    log: str
    problem: str
    place: str


_NO_RUN = _RunTexts("", (), "", "", "")


class _Cards:
    """The tasks of a build, read on demand."""

    def __init__(self, store: Store, build: BuildList, difference: BuildDifference | None) -> None:
        self.store, self.build = store, build
        self.happened = build.happened()
        self.lines: dict[TaskKey, Line] = lines_with_failures(build)
        self.keys = sorted(self.lines.keys() | self.happened.keys())
        self.spans: dict[str, Span] = {span.key: span for span in build.timeline()}
        self.changed: dict[str, TaskDifference] = (
            {task.key: task for task in difference.tasks} if difference else {}
        )
        self.read: dict[str, Inputs | None] = {}

    def what(self, key: TaskKey) -> str:
        happened = self.happened.get(key, "up to date")
        return "failed" if happened.startswith("failed") else outcome_text(happened)

    def inputs(self, key: TaskKey) -> Inputs | None:
        if key not in self.read:
            line = self.lines.get(key)
            try:
                self.read[key] = (
                    read_inputs(self.store.objects, key, line.task_hash) if line else None
                )
            except StoreError:  # fetched without its inputs, or deleted by a collection
                self.read[key] = None
        return self.read[key]

    def edges(self, key: TaskKey) -> tuple[str, ...]:
        inputs = self.inputs(key)
        return tuple(dict.fromkeys(edge for _, edge in inputs.edges)) if inputs else ()

    def is_root(self, key: TaskKey) -> bool:
        return key in self.changed and bool(self.changed[key].own)

    def card(self, key: TaskKey) -> TaskCard:
        line, span, what = self.lines.get(key), self.spans.get(key), self.what(key)
        tag, changes, log, problem, place = self._run(key) if what in WORKED else _NO_RUN
        return TaskCard(
            key=key,
            what=what,
            began=span.began if span else None,
            seconds=span.seconds if span else None,
            added=span.added if span else 0,
            task_hash=line.task_hash.hex() if line else "",
            output=line.output.hex() if line and line.output else "",
            tag=tag,
            edges=self.edges(key),
            root=self.is_root(key),
            inputs=self._changed(key),
            inputs_all=self._texts(key),
            changes=changes,
            log=log,
            problem=problem,
            place=place,
        )

    def _changed(self, key: TaskKey) -> tuple[ChangedInput, ...]:
        own = self.changed[key].own if key in self.changed else ()
        return tuple(
            ChangedInput(
                change.kind, change.name, "\n".join(difference_text(self.store.objects, change))
            )
            for change in own
        )

    def _texts(self, key: TaskKey) -> tuple[tuple[str, str], ...]:
        inputs = self.inputs(key)
        if inputs is None:
            return ()
        texts = []
        for (kind, name), entry in inputs.own.items():
            title = f"{kind} {name}".strip()
            if entry.mode == MODE_DIRECTORY:
                texts.append((title, f"tree {entry.oid.hex()}"))
                continue
            data = self.store.objects.blob(entry.oid)
            text = (
                data.decode("utf-8", "replace")
                if b"\0" not in data
                else f"binary, {len(data)} bytes"
            )
            more = f"\n… and {len(text) - LONGEST} more characters" if len(text) > LONGEST else ""
            texts.append((title, text[:LONGEST] + more))
        edges = sorted(inputs.edges.items(), key=lambda item: item[0])
        return (
            *texts,
            *((f"{edge.kind} {edge.key}", oid.hex() if oid else "") for edge, oid in edges),
        )

    def _run(self, key: TaskKey) -> _RunTexts:
        """Return the texts about a run; empty ones if it is not in the store."""
        try:
            run = run_in(self.build, key)
        except NameUnknown:
            return _NO_RUN
        records = Records(self.store)
        before = records.workdir(self.store.objects.commit(run.commit).parents[0])
        changes = [
            difference.line
            for difference in diff_pairs(self.store.objects, before, records.workdir(run.commit))
        ]
        if len(changes) > MOST_CHANGES:
            changes = [
                *changes[:MOST_CHANGES],
                f"… and {len(changes) - MOST_CHANGES} more: run `prov diff {run.tag}`",
            ]
        log = records.text(run.commit, LOG).decode("utf-8", "replace").splitlines()
        if len(log) > LOG_LINES:
            earlier = f"… {len(log) - LOG_LINES} earlier lines: run `prov show {run.tag}`"
            log = [earlier, *log[-LOG_LINES:]]
        facts = records.facts(run.commit)
        problem = facts.get("result", "").removeprefix("failed: ") if run.failed else ""
        return _RunTexts(run.tag, tuple(changes), "\n".join(log), problem, facts.get("worker", ""))


def _head(store: Store, build: BuildList, tasks: tuple[TaskCard, ...]) -> BuildHead:
    facts = build.facts()
    counts = {what: sum(task.what == what for task in tasks) for what in COUNTS}
    return BuildHead(
        id=build.commit.hex()[:12],
        when=store.objects.commit(build.commit).author.seconds,
        result=facts.get("result", ""),
        seconds=build.seconds(),
        targets=facts.get("targets", ""),
        host=facts.get("host", ""),
        labels=labels_of(store).get(build.commit, ()),
        counts={what: number for what, number in counts.items() if number},
    )


def _causes(
    store: Store, difference: BuildDifference, tasks: tuple[TaskCard, ...]
) -> tuple[CauseCard, ...]:
    users: dict[str, list[str]] = {}
    for task in tasks:
        for edge in task.edges:
            users.setdefault(edge, []).append(task.key)
    followed = set(difference.followed)
    return tuple(
        CauseCard(
            cause.change.kind,
            cause.change.name,
            "\n".join(difference_text(store.objects, cause.change)),
            cause.tasks,
            len(_above(cause.tasks, users) & followed),
        )
        for cause in difference.causes
    )


def _above(keys: tuple[str, ...], users: Mapping[str, list[str]]) -> set[str]:
    """Return the direct and indirect dependents of tasks."""
    dependents: set[str] = set()
    queue = deque(keys)
    while queue:
        for user in users.get(queue.popleft(), ()):
            if user not in dependents:
                dependents.add(user)
                queue.append(user)
    return dependents


def _recipes(build: BuildList, tasks: tuple[TaskCard, ...]) -> tuple[RecipeRow, ...]:
    versions = build.versions()
    by_recipe: dict[str, list[TaskCard]] = {}
    for task in tasks:
        by_recipe.setdefault(task.key.recipe, []).append(task)
    return tuple(
        RecipeRow(
            name,
            versions.get(name, ""),
            sum(task.seconds or 0 for task in cards),
            sum(task.added for task in cards),
            sum(task.what == "ran" for task in cards),
        )
        for name, cards in by_recipe.items()
    )
