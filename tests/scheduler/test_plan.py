"""Tests of planning, a pure function of a graph, recorded results and choices."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from prov.recipes.graph import Graph, Node
from prov.recipes.recipe import Recipe, Task
from prov.recipes.variables import Reached
from prov.records.ids import CommitId, OutputId, StaticKey, TaskHash
from prov.records.keys import TaskKey
from prov.scheduler.plan import Choices, Plan, make_plan
from prov.store.objects import MODE_FILE, Entry, object_id
from prov.tasks.taskhash import OwnInputs


@dataclass
class Known:
    """A store with outputs, by task hash, and some WORKDIRs."""

    outputs: dict[tuple[TaskKey, TaskHash], OutputId] = field(default_factory=dict)
    static: dict[tuple[TaskKey, StaticKey], OutputId] = field(default_factory=dict)
    workdirs: set[tuple[TaskKey, TaskHash]] = field(default_factory=set)

    def output(self, key: TaskKey, task_hash: TaskHash) -> OutputId | None:
        return self.outputs.get((key, task_hash))

    def static_output(self, key: TaskKey, static_key: StaticKey) -> OutputId | None:
        return self.static.get((key, static_key))

    def away(self, key: TaskKey, task_hash: TaskHash) -> bool:
        return False

    def static_away(self, key: TaskKey, static_key: StaticKey) -> TaskHash | None:
        return None

    def workdir_away(self, key: TaskKey, task_hash: TaskHash) -> bool:
        return False

    def why_no_workdir(self, key: TaskKey, task_hash: TaskHash) -> str:
        return "its WORKDIR was collected"

    def last_run(self, key: TaskKey, task_hash: TaskHash) -> tuple[int, CommitId | None]:
        return (1, CommitId(task_hash)) if (key, task_hash) in self.workdirs else (0, None)


def graph(edges: dict[str, dict[str, list[str]]], *targets: str) -> Graph:
    nodes = {}
    for text, kinds in edges.items():
        key = TaskKey(text)
        recipe, task = key.recipe, key.task
        made = Recipe(recipe, "1", "target", Path(f"{recipe}.toml"))
        after, from_, needs = (
            tuple(map(TaskKey, kinds.get(kind, []))) for kind in ("after", "from", "needs")
        )
        nodes[key] = Node(key, made, Task(task, ""), "x", after, from_, needs)
    return Graph(nodes, tuple(map(TaskKey, targets)))


LIB = {
    "lib:compile": {},
    "lib:install": {"after": ["lib:compile"]},
    "app:compile": {"needs": ["lib:install"]},
    "app:install": {"after": ["app:compile"]},
    "image:image": {"from": ["app:install"]},
}


def own(graph_: Graph, **changed: str) -> dict[TaskKey, OwnInputs]:
    found = {}
    for key in graph_.nodes:
        text = f"{key} {changed.get(key.replace(':', '_'), '')}".encode()
        found[key] = OwnInputs(
            (Entry(b"script", MODE_FILE, object_id("blob", text)),), Reached((), ())
        )
    return found


def settle(
    known: Known, graph_: Graph, inputs: dict[TaskKey, OwnInputs], *, workdirs: bool = True
) -> None:
    """Record results for all tasks of a graph, as if it had been built."""
    for _ in graph_.nodes:
        for step in make_plan(graph_, inputs, known, Choices()).steps.values():
            if step.task_hash is not None:
                output = OutputId(object_id("blob", step.key.encode()))
                known.outputs[step.key, step.task_hash] = output
                known.static[step.key, step.static_key] = output
                if workdirs:
                    known.workdirs.add((step.key, step.task_hash))


def actions(plan: Plan) -> dict[str, str]:
    return {step.key: step.action for step in plan.wanted.values()}


@pytest.fixture
def whole() -> Graph:
    return graph(LIB, "image:image")


def test_nothing_recorded_runs_all(whole: Graph) -> None:
    plan = make_plan(whole, own(whole), Known(), Choices())
    assert actions(plan)["lib:compile"] == "run"
    assert len(plan.work) == len(LIB)


def test_everything_recorded_needs_nothing_below_the_target(whole: Graph) -> None:
    known = Known()
    settle(known, whole, own(whole))
    assert actions(make_plan(whole, own(whole), known, Choices())) == {"image:image": "up to date"}


def test_a_changed_task_runs_and_the_rest_may(whole: Graph) -> None:
    known = Known()
    settle(known, whole, own(whole))
    plan = make_plan(whole, own(whole, lib_install="edited"), known, Choices())
    assert actions(plan) == {
        "lib:compile": "restore",
        "lib:install": "run",
        "app:compile": "may run",
        "app:install": "may run",
        "image:image": "may run",
    }


def test_a_missing_workdir_is_made_again_if_needed(whole: Graph) -> None:
    known = Known()
    settle(known, whole, own(whole), workdirs=False)
    plan = make_plan(whole, own(whole), known, Choices(force=frozenset(["app:install"])))
    assert actions(plan)["app:compile"] == "run"
    assert plan.steps[TaskKey("app:compile")].for_workdir
    assert actions(plan)["lib:install"] == "restore"
    assert "lib:compile" not in actions(plan)


def test_a_deleted_output_below_a_recorded_one_is_not_needed(whole: Graph) -> None:
    known = Known()
    settle(known, whole, own(whole))
    known.outputs = {
        pair: output for pair, output in known.outputs.items() if not pair[0].startswith("lib:")
    }
    known.static = {
        pair: output for pair, output in known.static.items() if not pair[0].startswith("lib:")
    }
    assert actions(make_plan(whole, own(whole), known, Choices())) == {"image:image": "up to date"}


def test_dependents_of_a_forced_task_are_decided_after_it_ran(whole: Graph) -> None:
    known = Known()
    settle(known, whole, own(whole))
    plan = make_plan(whole, own(whole), known, Choices(force=frozenset(["lib:compile"])))
    assert actions(plan)["lib:install"] == "run"
    assert actions(plan)["image:image"] == "may run"


def test_static_keys_change_with_everything_below(whole: Graph) -> None:
    before = make_plan(whole, own(whole), Known(), Choices()).steps
    after = make_plan(whole, own(whole, lib_compile="edited"), Known(), Choices()).steps
    assert all(before[TaskKey(key)].static_key != after[TaskKey(key)].static_key for key in LIB)
    after = make_plan(whole, own(whole, app_install="edited"), Known(), Choices()).steps
    assert [
        key for key in LIB if before[TaskKey(key)].static_key != after[TaskKey(key)].static_key
    ] == [
        "app:install",
        "image:image",
    ]
