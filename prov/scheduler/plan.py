"""Plan a build: decide what to do with each task, and why, by comparing refs.

This module is pure. Its input is a graph, the tasks' own inputs and the recorded results; its
output is a list of steps. The task hash of a task behind one that runs is not known in advance, so
such a task "may run": it runs unless its inputs are unchanged. The plan contains every task that
may run; the number of steps never grows during a build.

First, in graph order, each task's hash is computed if all its edges are known. The task is up to
date if an output is recorded under that hash. Then, from the targets down, the plan finds what is
needed. An up-to-date output needs nothing else. A task that runs needs the WORKDIRs of the tasks it
comes after and the outputs it uses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Literal, Protocol

from prov.recipes.graph import Graph, Node
from prov.records.build_list import Kept
from prov.records.ids import CommitId, OutputId, StaticKey, TaskHash
from prov.records.keys import TaskKey
from prov.store.objects import Oid
from prov.tasks.taskhash import HashOnly, OwnInputs, task_hash
from prov.text import few


class Action(StrEnum):
    """What a build does with a task."""

    UP_TO_DATE = "up to date"
    RESTORE = "restore"
    """Its output is restored from the store."""
    FETCH = "fetch"
    RUN = "run"
    MAY_RUN = "may run"
    """It runs unless the outputs it uses are unchanged."""
    STALE = "stale"
    """Its output is used although a dependency changed."""


RUNNING = (Action.RUN, Action.MAY_RUN)
Follow = Literal["never", "changed", "always"]


class Need(Enum):
    """The part of a task's result that is needed."""

    OUTPUT = 1
    WORKDIR = 2


class Known(Protocol):
    """The recorded results, in the store and at remotes, that a plan is based on."""

    def output(self, key: TaskKey, task_hash: TaskHash) -> OutputId | None: ...

    def static_output(self, key: TaskKey, static_key: StaticKey) -> OutputId | None: ...

    def last_run(self, key: TaskKey, task_hash: TaskHash) -> tuple[int, CommitId | None]: ...

    def away(self, key: TaskKey, task_hash: TaskHash) -> bool:
        """Return whether only a remote has the output of a task hash."""

    def static_away(self, key: TaskKey, static_key: StaticKey) -> TaskHash | None:
        """Return the task hash of an output that only a remote has; None if the store has it."""

    def workdir_away(self, key: TaskKey, task_hash: TaskHash) -> bool:
        """Return whether a remote has the WORKDIR of a task hash."""

    def why_no_workdir(self, key: TaskKey, task_hash: TaskHash) -> str:
        """Return a text: why the store has the output of a task hash but not the WORKDIR."""


@dataclass(frozen=True, slots=True)
class Choices:
    """The user's choices besides the targets."""

    force: frozenset[str] = frozenset()
    only: frozenset[str] = frozenset()
    """Recipes to build without their dependencies; empty: no limit."""
    follow: Follow = "changed"
    incremental: frozenset[str] = frozenset()
    """Recipes whose tasks start from the current contents of their WORKDIRs."""


@dataclass(slots=True)
class Step:
    """What a build does with one task.

    `task_hash` and `output` are None until they are known.
    """

    key: TaskKey
    action: Action
    reason: str
    static_key: StaticKey
    task_hash: TaskHash | None = None
    output: OutputId | None = None
    forced: bool = False
    """It runs even if its hash is recorded."""
    away: bool = False
    """Only a remote has its output."""
    for_workdir: bool = False
    """Its output is recorded, but it runs because its WORKDIR is needed and not recorded."""


@dataclass(slots=True)
class Plan:
    """A step for each task of a graph, in dependency order."""

    graph: Graph
    own: dict[TaskKey, OwnInputs]
    choices: Choices
    steps: dict[TaskKey, Step]
    wanted: dict[TaskKey, Step] = field(default_factory=dict)
    """The steps that the targets need."""

    @property
    def work(self) -> list[Step]:
        """The steps that run or may run."""
        return [step for step in self.wanted.values() if step.action in RUNNING]

    @property
    def fetches(self) -> list[Step]:
        """The steps whose results are fetched from remotes."""
        return [step for step in self.wanted.values() if step.action == Action.FETCH]


def edge_ids(
    node: Node,
    hash_of: Callable[[TaskKey], Oid | None],
    output_of: Callable[[TaskKey], Oid | None],
) -> dict[str, dict[str, str]] | None:
    """Return a node's edges in the form of the inputs tree, or None if one is not known yet."""
    ids: dict[str, dict[str, str]] = {"after": {}, "from": {}, "needs": {}}
    for kind, keys, id_of in (
        ("after", node.after, hash_of),
        ("from", node.from_, output_of),
        ("needs", node.needs, output_of),
    ):
        for key in keys:
            oid = id_of(key)
            if oid is None:
                return None
            ids[kind][key.task if kind == "after" else key] = oid.hex()
    return ids


def static_keys(graph: Graph, own: Mapping[TaskKey, OwnInputs]) -> dict[TaskKey, StaticKey]:
    """Return each task's static key.

    It is hashed like a task hash, from the task's own inputs and its dependencies' static keys.
    """
    keys: dict[TaskKey, StaticKey] = {}
    sink = HashOnly()
    for key, node in graph.nodes.items():
        edges = edge_ids(node, keys.__getitem__, keys.__getitem__)
        assert edges is not None  # the graph lists a task after its dependencies
        keys[key] = StaticKey(task_hash(sink, own[key], edges))
    return keys


def make_plan(
    graph: Graph,
    own: Mapping[TaskKey, OwnInputs],
    known: Known,
    choices: Choices,
    last: Callable[[TaskKey], Kept | None] = lambda key: None,
) -> Plan:
    """Return the plan for a graph. `last` returns a task's state after the last build."""
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
    """Tasks that depend on a forced one, whose earlier records therefore say nothing."""

    def make(self) -> Plan:
        static = static_keys(self.graph, self.own)
        self.forced = self.forced_chain()
        for key, node in self.graph.nodes.items():
            self.steps[key] = self.judge(node, static[key])
        plan = Plan(self.graph, self.own, self.choices, self.steps)
        plan.wanted = self.wanted()
        return plan

    def forced_chain(self) -> set[str]:
        """Return the forced tasks and the tasks that continue in their WORKDIRs.

        A rerun does not change the hashes of the latter, so they must be forced too.
        """
        forced: set[str] = set()
        for key, node in self.graph.nodes.items():
            if key in self.choices.force or forced.intersection(node.after):
                forced.add(key)
        return forced

    def judge(self, node: Node, static_key: StaticKey) -> Step:
        edges = edge_ids(node, self.hash_of, self.output_of)
        if edges is None:
            step = self.step_without_hash(node, static_key)
        else:
            step = self.step_with_hash(node, static_key, edges)
        self.decide(node, step, edges)
        follows = self.choices.follow == "always" and self.follows_a_run(node)
        if follows and step.action == Action.UP_TO_DATE:
            self.force(step, "follows a task that runs")
        if step.forced or (step.output is None and self.unsettled.intersection(node.edges)):
            self.unsettled.add(node.key)
        return step

    def step_with_hash(
        self, node: Node, static_key: StaticKey, edges: Mapping[str, Mapping[str, str]]
    ) -> Step:
        """Return the step of a task if all its edges are known."""
        oid = task_hash(HashOnly(), self.own[node.key], edges)
        output = self.known.output(node.key, oid)
        away = output is not None and self.known.away(node.key, oid)
        return Step(node.key, Action.MAY_RUN, "", static_key, oid, output, away=away)

    def step_without_hash(self, node: Node, static_key: StaticKey) -> Step:
        """Return the step of a task that depends on a task that has to run."""
        step = Step(node.key, Action.MAY_RUN, "", static_key)
        if not self.unsettled.intersection(node.edges):
            step.output = self.known.static_output(node.key, static_key)
        if step.output is not None:
            step.task_hash = self.known.static_away(node.key, static_key)  # used to fetch it
            step.away = step.task_hash is not None
        step.reason = self.condition(node, step)
        return step

    def condition(self, node: Node, step: Step) -> str:
        """Return a text: the condition under which a task without a hash runs."""
        if step.output is None and self.last(node.key) is None:
            return "not built before"
        waits = [edge for edge in node.edges if self.undecided(edge)]
        verb = "is" if len(waits) == 1 else "are"
        return f"unless {few(waits)} {verb} unchanged"

    def decide(self, node: Node, step: Step, edges: Mapping[str, Mapping[str, str]] | None) -> None:
        """Set the action and the reason of a step."""
        if node.key in self.forced:
            asked = node.key in self.choices.force
            self.force(step, "forced" if asked else "follows a forced task")
        elif step.output is not None and self.takes_stale(node):
            step.action, step.reason = Action.STALE, "made from a stale output"
        elif step.output is not None:
            step.action, step.reason = Action.UP_TO_DATE, "its output is recorded"
        elif edges is not None:
            step.action, step.reason = Action.RUN, self.why(node, edges)
            self.keep_if_stale(node, step, edges)
        elif self.choices.follow == "never":
            last = self.last(node.key)
            if last and self.only_edges_differ(node, last):
                self.keep_stale(step, last)

    @staticmethod
    def force(step: Step, reason: str) -> None:
        step.action, step.output, step.forced = Action.RUN, None, True
        step.reason = reason

    @staticmethod
    def keep_stale(step: Step, last: Kept) -> None:
        step.action, step.reason = Action.STALE, "kept although a dependency changed"
        step.task_hash, step.output = last.task_hash, last.output

    def takes_stale(self, node: Node) -> bool:
        return any(self.steps[edge].action == Action.STALE for edge in node.edges)

    def hash_of(self, key: TaskKey) -> TaskHash | None:
        step = self.steps[key]
        if key.recipe in self.choices.incremental and step.action in RUNNING:
            return None  # its hash includes the contents of its WORKDIR
        return step.task_hash

    def output_of(self, key: TaskKey) -> OutputId | None:
        return self.steps[key].output

    def undecided(self, key: TaskKey) -> bool:
        return self.steps[key].action in RUNNING

    def follows_a_run(self, node: Node) -> bool:
        return any(self.undecided(edge) for edge in node.edges)

    def keep_if_stale(self, node: Node, step: Step, edges: Mapping[str, Mapping[str, str]]) -> None:
        if self.choices.follow != "never" or any(
            key.startswith(f"{node.recipe.name}:") for key in self.choices.force
        ):
            return
        last = self.last(node.key)
        if last is None or dict(last.after) != dict(edges["after"]):
            return
        if self.only_edges_differ(node, last):
            self.keep_stale(step, last)

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
        return "an output of a dependency changed"

    def wanted(self) -> dict[TaskKey, Step]:
        """Return the steps that the targets need, in the order of the graph."""
        needs: dict[TaskKey, Need] = dict.fromkeys(self.graph.targets, Need.OUTPUT)
        askers: dict[TaskKey, TaskKey] = {}
        for key in reversed(self.graph.nodes):
            need = needs.get(key)
            if need == Need.WORKDIR and not self.undecided(key):
                self.need_workdir(self.steps[key], askers[key])
            if need is not None and self.undecided(key):
                self.need_edges(self.graph.nodes[key], needs, askers)
        for key, node in self.graph.nodes.items():
            if self.fetches_for_itself(node):
                reason = "its output is deployed" if node.task.deploy else "it is a target"
                self.bring(self.steps[key], reason)
                needs.setdefault(key, Need.OUTPUT)
        return {key: self.steps[key] for key in self.graph.nodes if key in needs}

    def need_edges(
        self, node: Node, needs: dict[TaskKey, Need], askers: dict[TaskKey, TaskKey]
    ) -> None:
        """Add the results that a running task needs to `needs`."""
        takes_over = node.recipe.name not in self.choices.incremental
        for edge in node.after:
            needs[edge] = Need.WORKDIR if takes_over else needs.get(edge, Need.OUTPUT)
            askers[edge] = node.key
        for edge in (*node.from_, *node.needs):
            needs.setdefault(edge, Need.OUTPUT)
            if self.steps[edge].action == Action.UP_TO_DATE:
                self.bring(self.steps[edge], f"its output is put in place for {node.key}")

    def fetches_for_itself(self, node: Node) -> bool:
        """Return whether to fetch an output that no task uses: a target's, or a deployed one."""
        step = self.steps[node.key]
        used = node.task.deploy or node.key in self.graph.targets
        return used and step.away and step.action == Action.UP_TO_DATE

    @staticmethod
    def bring(step: Step, why: str) -> None:
        """Restore an output from the store, or fetch it if only a remote has it."""
        if step.away:
            step.action, step.reason = Action.FETCH, f"{why}, from a remote"
        else:
            step.action, step.reason = Action.RESTORE, why

    def need_workdir(self, step: Step, asker: TaskKey) -> None:
        """Restore or fetch the WORKDIR of a recorded task, or run the task if neither works."""
        task_hash = step.task_hash
        if task_hash is None:
            step.action, step.for_workdir = Action.MAY_RUN, True
        elif self.known.last_run(step.key, task_hash)[1] is not None:
            if step.action == Action.UP_TO_DATE:
                step.action, step.reason = Action.RESTORE, "its WORKDIR is put back"
        elif step.action != Action.FETCH and self.known.workdir_away(step.key, task_hash):
            step.action = Action.FETCH
            step.reason = "its WORKDIR is put back, from a remote"
        else:
            step.action, step.for_workdir = Action.RUN, True
            why = self.known.why_no_workdir(step.key, task_hash)
            step.reason = f"{why}, and {asker} starts from it"
