"""The plan: what a build will do, and why, found by comparing refs.

Pure: a graph, the tasks' own inputs and what is recorded go in; steps come out. The hashes behind a
task that must run are known only when it has run, so such a task "runs unless its inputs come out
the same". All that may have to run is in the plan from the start: the number of steps never grows.

How it is found, for every task in the order of the graph: with all its edges known, its hash is; a
recorded output under that hash makes it up to date. Then, from the targets down, what is needed: an
up-to-date task's output needs nothing below it; a task that runs needs the WORKDIR of those that it
comes after and the outputs that it takes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from prov.recipes.graph import Graph, Node
from prov.records.build_list import Kept
from prov.records.ids import CommitId, OutputId, StaticKey, TaskHash
from prov.records.keys import TaskKey
from prov.store.objects import Oid
from prov.tasks.taskhash import HashOnly, OwnInputs, task_hash
from prov.text import few

Action = Literal["up to date", "restore", "fetch", "run", "may run", "stale"]
Follow = Literal["never", "changed", "always"]


class Known(Protocol):
    """What the plan asks of the store, and of what is known of remotes."""

    def output(self, key: TaskKey, task_hash: TaskHash) -> OutputId | None: ...

    def static_output(self, key: TaskKey, static_key: StaticKey) -> OutputId | None: ...

    def last_run(self, key: TaskKey, task_hash: TaskHash) -> tuple[int, CommitId | None]: ...

    def away(self, key: TaskKey, task_hash: TaskHash) -> bool:
        """Tell whether the output of a task hash is at a remote only."""

    def static_away(self, key: TaskKey, static_key: StaticKey) -> TaskHash | None:
        """Return the task hash of an output that is at a remote only; None if it is here."""

    def workdir_away(self, key: TaskKey, task_hash: TaskHash) -> bool:
        """Tell whether a remote has the WORKDIR of a task hash."""

    def why_no_workdir(self, key: TaskKey, task_hash: TaskHash) -> str:
        """Return in words why the WORKDIR of a task hash, whose output is recorded, is not here."""


@dataclass(frozen=True, slots=True)
class Choices:
    """What the user wants beyond the targets."""

    force: frozenset[str] = frozenset()
    only: frozenset[str] = frozenset()
    """Recipes that are built without their dependencies; empty: no such limit."""
    follow: Follow = "changed"
    incremental: frozenset[str] = frozenset()
    """Recipes whose tasks start from what is in their WORKDIRs."""


@dataclass(slots=True)
class Step:
    """What is to happen to a task.

    `task_hash` and `output` are None as long as they can't be known.
    """

    key: TaskKey
    action: Action
    reason: str
    static_key: StaticKey
    task_hash: TaskHash | None = None
    output: OutputId | None = None
    forced: bool = False
    """It runs although its hash may be recorded."""
    away: bool = False
    """Its output is at a remote only."""
    for_workdir: bool = False
    """Its output is recorded; it runs since its WORKDIR is not, and is needed."""


@dataclass(slots=True)
class Plan:
    """Steps for all tasks of the graph that matter, in an order in which they can be carried
    out.
    """

    graph: Graph
    own: dict[TaskKey, OwnInputs]
    choices: Choices
    steps: dict[TaskKey, Step]
    wanted: dict[TaskKey, Step] = field(default_factory=dict)
    """The steps that the targets need; those that do nothing are left out."""

    @property
    def work(self) -> list[Step]:
        """The steps that run, or may."""
        return [step for step in self.wanted.values() if step.action in ("run", "may run")]

    @property
    def fetches(self) -> list[Step]:
        """The steps whose results come from remotes."""
        return [step for step in self.wanted.values() if step.action == "fetch"]


def edge_ids(
    node: Node,
    hash_of: Callable[[TaskKey], Oid | None],
    output_of: Callable[[TaskKey], Oid | None],
) -> dict[str, dict[str, str]] | None:
    """Return a node's edges as the inputs tree has them, or None while one of them is not known."""
    found: dict[str, dict[str, str]] = {"after": {}, "from": {}, "needs": {}}
    for kind, keys, id_of in (
        ("after", node.after, hash_of),
        ("from", node.from_, output_of),
        ("needs", node.needs, output_of),
    ):
        for key in keys:
            oid = id_of(key)
            if oid is None:
                return None
            found[kind][key.task if kind == "after" else key] = oid.hex()
    return found


def static_keys(graph: Graph, own: Mapping[TaskKey, OwnInputs]) -> dict[TaskKey, StaticKey]:
    """Return each task's static key: its own inputs and its dependencies' static keys, hashed as a
    task hash is.
    """
    keys: dict[TaskKey, StaticKey] = {}
    sink = HashOnly()
    for key, node in graph.nodes.items():
        edges = edge_ids(node, keys.__getitem__, keys.__getitem__)
        assert edges is not None  # the graph lists a task after those in its edges
        keys[key] = StaticKey(task_hash(sink, own[key], edges))
    return keys


def make_plan(
    graph: Graph,
    own: Mapping[TaskKey, OwnInputs],
    known: Known,
    choices: Choices,
    last: Callable[[TaskKey], Kept | None] = lambda key: None,
) -> Plan:
    """Return the plan for a graph. `last` tells how the last build left a task."""
    return _Planner(graph, dict(own), known, choices, last).make()


@dataclass(slots=True)
class _Planner:
    graph: Graph
    own: dict[TaskKey, OwnInputs]
    known: Known
    choices: Choices
    last: Callable[[TaskKey], Kept | None]
    steps: dict[TaskKey, Step] = field(default_factory=dict)
    forced: set[str] = field(default_factory=set)
    unsettled: set[str] = field(default_factory=set)
    """Tasks behind a forced one: what was recorded for them before tells nothing."""

    def make(self) -> Plan:
        static = static_keys(self.graph, self.own)
        self.forced = self.forced_chain()
        for key, node in self.graph.nodes.items():
            self.steps[key] = self.judge(node, static[key])
        plan = Plan(self.graph, self.own, self.choices, self.steps)
        plan.wanted = self.wanted()
        return plan

    def forced_chain(self) -> set[str]:
        """Return the forced tasks and those that take over their WORKDIR, whose hashes tell nothing
        of a rerun.
        """
        forced: set[str] = set()
        for key, node in self.graph.nodes.items():
            if key in self.choices.force or forced.intersection(node.after):
                forced.add(key)
        return forced

    def judge(self, node: Node, static_key: StaticKey) -> Step:
        key = node.key
        edges = edge_ids(node, self.hash_of, self.output_of)
        step = Step(key, "may run", "", static_key)
        if edges is not None:
            step.task_hash = task_hash(HashOnly(), self.own[key], edges)
            step.output = self.known.output(key, step.task_hash)
            step.away = step.output is not None and self.known.away(key, step.task_hash)
        else:
            if not self.unsettled.intersection(node.edges):
                step.output = self.known.static_output(key, static_key)
            if step.output is not None:
                step.task_hash = self.known.static_away(key, static_key)  # by which it is fetched
                step.away = step.task_hash is not None
            waits = [edge for edge in node.edges if self.undecided(edge)]
            known = step.output is None and self.last(key) is None
            come = "comes" if len(waits) == 1 else "come"
            step.reason = (
                "not built before" if known else f"unless {few(waits)} {come} out the same"
            )
        if key in self.forced:
            step.action, step.output, step.forced = "run", None, True
            step.reason = "forced" if key in self.choices.force else "follows a forced task"
        elif step.output is not None and any(
            self.steps[edge].action == "stale" for edge in node.edges
        ):
            step.action, step.reason = "stale", "made from what is kept although stale"
        elif step.output is not None:
            step.action, step.reason = "up to date", "its output is recorded"
        elif edges is not None:
            step.action, step.reason = "run", self.why(node, edges)
            self.keep_if_stale(node, step, edges)
        elif self.choices.follow == "never":
            kept = self.last(key)
            if kept and self.only_edges_differ(node, kept):
                step.action, step.reason = "stale", "kept although a dependency changed"
                step.task_hash, step.output = kept.task_hash, kept.output
        if (
            step.action == "up to date"
            and self.choices.follow == "always"
            and self.follows_a_run(node)
        ):
            step.action, step.output, step.forced = "run", None, True
            step.reason = "follows a task that runs"
        if step.forced or (step.output is None and self.unsettled.intersection(node.edges)):
            self.unsettled.add(key)
        return step

    def hash_of(self, key: TaskKey) -> TaskHash | None:
        step = self.steps[key]
        if key.recipe in self.choices.incremental and step.action in ("run", "may run"):
            return None  # where it starts from is part of its hash
        return step.task_hash

    def output_of(self, key: TaskKey) -> OutputId | None:
        return self.steps[key].output

    def undecided(self, key: TaskKey) -> bool:
        return self.steps[key].action in ("run", "may run")

    def follows_a_run(self, node: Node) -> bool:
        return any(self.undecided(edge) for edge in node.edges)

    def keep_if_stale(self, node: Node, step: Step, edges: Mapping[str, Mapping[str, str]]) -> None:
        if self.choices.follow != "never" or any(
            key.startswith(f"{node.recipe.name}:") for key in self.choices.force
        ):
            return
        kept = self.last(node.key)
        if kept and self.only_edges_differ(node, kept) and dict(kept.after) == dict(edges["after"]):
            step.action, step.reason = "stale", "kept although a dependency changed"
            step.task_hash, step.output = kept.task_hash, kept.output

    def only_edges_differ(self, node: Node, kept: Kept) -> bool:
        return kept.own == frozenset(
            (entry.name, entry.oid) for entry in self.own[node.key].entries
        )

    def why(self, node: Node, edges: Mapping[str, Mapping[str, str]]) -> str:
        kept = self.last(node.key)
        if kept is None:
            return "not built before"
        now = {(entry.name, entry.oid) for entry in self.own[node.key].entries}
        changed = sorted({name.decode("utf-8", "replace") for name, _ in now ^ set(kept.own)})
        if changed:
            return f"changed: {', '.join(changed)}"
        if dict(kept.after) != dict(edges["after"]):
            return f"follows {few(node.after)}, which changed"
        return "an output that it takes changed"

    def wanted(self) -> dict[TaskKey, Step]:
        """Return the steps that the targets need, in the order of the graph."""
        needed: dict[str, str] = dict.fromkeys(self.graph.targets, "output")
        askers: dict[str, str] = {}
        for key in reversed(self.graph.nodes):
            need, step, node = needed.get(key), self.steps[key], self.graph.nodes[key]
            if need is None:
                continue
            if need == "workdir" and not self.undecided(key):
                self.need_workdir(step, askers[key])
            if self.undecided(key):
                takes_over = node.recipe.name not in self.choices.incremental
                for edge in node.after:
                    needed[edge] = "workdir" if takes_over else needed.get(edge, "output")
                    askers[edge] = key
                for edge in (*node.from_, *node.needs):
                    needed.setdefault(edge, "output")
                    if self.steps[edge].action == "up to date":
                        self.bring(self.steps[edge], f"its output is put in place for {key}")
        for key, node in self.graph.nodes.items():
            # what is deployed has to be here, as what was asked for has
            step = self.steps[key]
            kept = node.task.deploy or key in self.graph.targets
            if kept and step.away and step.action == "up to date":
                self.bring(
                    step, "its output is deployed" if node.task.deploy else "it is asked for"
                )
                needed.setdefault(key, "output")
        return {key: self.steps[key] for key in self.graph.nodes if key in needed}

    @staticmethod
    def bring(step: Step, why: str) -> None:
        """Have an output put in place, from the store or else from a remote."""
        step.action, step.reason = (
            ("fetch", f"{why}, from a remote") if step.away else ("restore", why)
        )

    def need_workdir(self, step: Step, asker: str) -> None:
        if (
            step.task_hash is not None
            and self.known.last_run(step.key, step.task_hash)[1] is not None
        ):
            if step.action == "up to date":
                step.action, step.reason = "restore", "its WORKDIR is put back"
            return
        if (
            step.task_hash is not None
            and step.action != "fetch"
            and self.known.workdir_away(step.key, step.task_hash)
        ):
            step.action, step.reason = "fetch", "its WORKDIR is put back, from a remote"
            return
        step.action = "run" if step.task_hash is not None else "may run"
        step.for_workdir = True
        if step.task_hash is not None:
            step.reason = (
                f"{self.known.why_no_workdir(step.key, step.task_hash)}, and {asker} starts from it"
            )
