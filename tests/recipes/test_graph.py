"""Tests of the task graph: edges, targets, chains and cycles."""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prov.errors import NameUnknown, PlanError, RecipeError
from prov.recipes.graph import Graph, Node, make_graph, resolve_targets, tasks_before
from prov.recipes.project import Project
from prov.records.keys import TaskKey
from tests.recipes.folders import load

NATIVE = 'classextend = ["native"]\n'


def tasks(**edges: str) -> str:
    """Return the tables of tasks, each given as a text such as `after a b; needs c:d`."""
    text = ""
    for name, keys in edges.items():
        text += f"[tasks.{name}]\n"
        for key in filter(None, keys.split("; ")):
            kind, *values = key.split()
            text += f"{kind} = {values}\n"
    return text


def graph_of(root: Path, files: dict[str, str], *targets: str) -> Graph:
    return make_graph(load(root, files), targets)


def node_of(graph: Graph, key: str) -> Node:
    return graph.nodes[TaskKey(key)]


def edges(node: Node) -> str:
    """Return a node's edges as a text."""
    return " ".join(
        [
            *node.after,
            *(f"from {key}" for key in node.from_),
            *(f"needs {key}" for key in node.needs),
        ]
    )


# edges


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("", ""),
        ("after first", "app:first"),
        ("after first second", "app:first app:second"),
        ("from first", "from app:first"),
        ("from lib:stage", "from lib:stage"),
        ("needs first", "needs app:first"),
        ("needs lib:stage", "needs lib:stage needs dep:stage"),
        ("needs lib-native:stage", "needs lib-native:stage needs dep-native:stage"),
        ("needs virtual:stage", "needs lib:stage needs dep:stage"),
        ("needs @depends:stage", "needs lib:stage needs dep:stage"),
        ("needs @depends:absent", ""),
        ("from @depends:stage", "from lib:stage from dep:stage"),
        ("needs @depends_native:stage", "needs tool-native:stage"),
        ("needs ${WHERE}", "needs lib:stage needs dep:stage"),
        ("needs lib:stage dep:stage @depends:stage", "needs lib:stage needs dep:stage"),
        ("after first; from lib:stage; needs first", "app:first from lib:stage needs app:first"),
    ],
)
def test_edges(tmp_path: Path, task: str, expected: str) -> None:
    files = {
        "app": 'depends = ["lib"]\ndepends_native = ["tool"]\n[variables]\nWHERE = "lib:stage"\n'
        + tasks(first="", second="", go=task),
        "lib": 'rdepends = ["dep"]\nprovides = ["virtual"]\n' + NATIVE + tasks(stage=""),
        "dep": NATIVE + tasks(stage=""),
        "tool": NATIVE + tasks(stage=""),
    }
    assert edges(node_of(graph_of(tmp_path, files, "app:go"), "app:go")) == expected


@pytest.mark.parametrize(
    ("task", "message", "hint"),
    [
        ("after frst", "tasks.go.after: app has no task frst", "did you mean first?"),
        ("after lib:stage", "tasks.go.after: app has no task lib:stage", ""),
        ("needs stag", "tasks.go.needs: app has no task stag", ""),
        ("from lib:stag", "tasks.go.from: lib has no task stag", "did you mean stage?"),
        ("needs lip:stage", "tasks.go.needs: app needs lip, which no recipe", "did you mean lib?"),
        ("needs @all:stage", "tasks.go.needs: invalid selector '@all:stage'", "@depends:TASK"),
        ("needs ${NO}", "tasks.go.needs: ${NO} is not set", ""),
    ],
)
def test_an_edge_to_a_missing_task(tmp_path: Path, task: str, message: str, hint: str) -> None:
    files = {"app": tasks(first="", go=task), "lib": tasks(stage="")}
    with pytest.raises(RecipeError) as raised:
        graph_of(tmp_path, files, "app:go")
    assert str(raised.value).startswith(f"{tmp_path}/recipes/app.toml: {message}")
    assert hint in raised.value.hint


def test_with_one_sysroot_a_task_sees_the_needs_of_tasks_before_it(tmp_path: Path) -> None:
    app = 'sysroot = "{}"\n' + tasks(
        a="needs lib:one", b="after a; needs lib:two", c="after b; needs lib:one lib:three"
    )
    lib = tasks(one="", two="", three="")
    expected = {
        "task": "needs lib:one needs lib:three",
        "recipe": "needs lib:one needs lib:three needs lib:two",
    }
    for scope, needs in expected.items():
        graph = graph_of(tmp_path, {"app": app.format(scope), "lib": lib}, "app:c")
        assert edges(node_of(graph, "app:c")) == f"app:b {needs}"


def test_where_outputs_go(tmp_path: Path) -> None:
    stage = '[variables]\nD = "image"\n[tasks.stage]\noutputdir = ["${D}", "${WORKDIR}/x"]\n'
    files = {
        "app": tasks(go="needs lib:stage tool:stage preload:stage"),
        "lib": stage,
        "tool": 'arch = "cross"\n' + stage,
        "preload": "direct = true\n" + stage,
    }
    node = node_of(graph_of(tmp_path, files, "app:go"), "app:go")
    assert node.direct == {"preload:stage"}
    assert node.staging == (
        "lib:stage target image ${WORKDIR}/x",
        "tool:stage native image ${WORKDIR}/x",
        "preload:stage direct image ${WORKDIR}/x",
    )


def test_a_node_has_the_folder_of_its_architecture(tmp_path: Path) -> None:
    graph = graph_of(tmp_path, {"app": 'arch = "allarch"\n' + tasks(go="")}, "app:go")
    assert [node.arch for node in graph.nodes.values()] == ["all"]


def test_tasks_before(tmp_path: Path) -> None:
    files = {"app": tasks(a="", b="after a", c="after a", d="after b c")}
    recipe = load(tmp_path, files).recipe("app")
    assert [task.name for task in tasks_before(recipe, recipe.tasks["d"])] == ["c", "a", "b"]
    assert tasks_before(recipe, recipe.tasks["a"]) == []


def test_a_chain_has_the_name_of_its_first_task(tmp_path: Path) -> None:
    files = {"app": tasks(a="", b="after a", c="", d="after b c", e="from d")}
    graph = graph_of(tmp_path, files, "app:d", "app:e")
    assert {str(key): graph.chain(key) for key in graph.nodes} == {
        "app:a": "a",
        "app:b": "a",
        "app:c": "c",
        "app:d": "a",
        "app:e": "e",
    }


# targets


def targets_project(root: Path) -> Project:
    files = {
        "app": 'build = ["b", "a"]\n' + tasks(a="", b="", populate_sysroot=""),
        "lib": 'provides = ["virtual"]\n' + NATIVE + tasks(a="", populate_sysroot=""),
    }
    return load(root, files)


@pytest.mark.parametrize(
    ("targets", "keys"),
    [
        ("app", "app:b app:a"),
        ("lib", "lib:populate_sysroot"),
        ("app:a", "app:a"),
        ("virtual:a", "lib:a"),
        ("lib-native:a", "lib-native:a"),
        ("world", "app:b app:a lib:populate_sysroot"),
        ("world:b", "app:b"),
        ("world:zzz", ""),
        ("app:a app app:a", "app:a app:b"),
        ("", ""),
    ],
)
def test_targets(tmp_path: Path, targets: str, keys: str) -> None:
    assert resolve_targets(targets_project(tmp_path), targets.split()) == keys.split()


@pytest.mark.parametrize(
    ("target", "message", "hint"),
    [
        ("ap", "no recipe is named ap", "did you mean app?"),
        ("app:populate_sysrot", "app has no task populate_sysrot", "did you mean populate_sysroot"),
        ("app:zzz", "app has no task zzz", "use one of a, b, populate_sysroot"),
    ],
)
def test_an_unknown_target(tmp_path: Path, target: str, message: str, hint: str) -> None:
    with pytest.raises(NameUnknown, match=message) as raised:
        resolve_targets(targets_project(tmp_path), [target])
    assert hint in raised.value.hint


def test_a_recipe_must_have_the_tasks_that_it_builds(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"app\.toml: build: app has no task x"):
        resolve_targets(load(tmp_path, {"app": 'build = ["x"]'}), ["app"])


# the whole graph


@pytest.mark.parametrize(
    ("edges_of", "cycle"),
    [
        ({"a": "after a"}, "app:a -> app:a"),
        ({"a": "after b", "b": "after a"}, "app:a -> app:b -> app:a"),
        ({"a": "needs b", "b": "from c", "c": "needs b"}, "app:b -> app:c -> app:b"),
    ],
)
def test_a_cycle_is_reported(tmp_path: Path, edges_of: dict[str, str], cycle: str) -> None:
    with pytest.raises(PlanError) as raised:
        graph_of(tmp_path, {"app": tasks(**edges_of)}, "app:a")
    assert str(raised.value) == f"dependency cycle: {cycle}"
    assert raised.value.hint == "remove one of these dependencies"


def test_a_deep_graph_needs_no_deep_recursion(tmp_path: Path) -> None:
    names = [f"t{number}" for number in range(3000)]
    chain = {name: f"needs {before}" for before, name in pairwise(names)}
    graph = graph_of(tmp_path, {"app": tasks(**{names[0]: "", **chain})}, f"app:{names[-1]}")
    assert list(graph.nodes) == [f"app:{name}" for name in names]


KINDS = st.sampled_from(["after", "from", "needs"])
EDGES = st.dictionaries(
    st.sampled_from("abcdef"),
    st.dictionaries(KINDS, st.lists(st.sampled_from("abcdef"), max_size=3), max_size=2),
)


@settings(max_examples=50)
@given(EDGES, st.sets(st.sampled_from("abcdef"), min_size=1))
def test_every_task_comes_after_its_dependencies(
    lists: dict[str, dict[str, list[str]]], targets: set[str]
) -> None:
    """A reported cycle really is a cycle."""
    table = {
        name: "; ".join(
            f"{kind} {' '.join(dict.fromkeys(names))}"
            for kind, names in lists.get(name, {}).items()
            if names
        )
        for name in "abcdef"
    }
    keys = [f"app:{name}" for name in sorted(targets)]
    with tempfile.TemporaryDirectory() as folder:
        try:
            graph = graph_of(Path(folder), {"app": tasks(**table)}, *keys)
        except PlanError as error:
            cycle = str(error).partition(": ")[2].replace("app:", "").split(" -> ")
            assert cycle[0] == cycle[-1]
            for one, other in pairwise(cycle):
                assert any(other in names for names in lists[one].values())
            return
    order = list(graph.nodes)
    assert list(graph.targets) == keys
    assert set(keys) <= set(order)
    for place, node in enumerate(graph.nodes.values()):
        assert all(order.index(edge) < place for edge in node.edges)
    reached = set(keys)
    for key in reversed(order):
        if key in reached:
            reached.update(graph.nodes[key].edges)
    assert reached == set(order)
