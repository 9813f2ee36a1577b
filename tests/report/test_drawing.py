"""Drawings of graphs: no overlap, lines run to the right, and keys cannot inject markup."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prov.records.keys import TaskKey
from prov.report.drawing import (
    HEIGHT,
    PALETTE,
    Drawn,
    anchor,
    dependencies_first,
    dot,
    layout,
    printable,
    spread,
    svg,
)

SVG = "{http://www.w3.org/2000/svg}"
WHATS = tuple(PALETTE)
HOSTILE = (
    '"]; x [label="',
    "a\\",
    "a\\N:b\\l",
    "</svg><script>alert(1)</script>",
    "]]>",
    "&amp;&#0;&broken",
    "<b>:<i>",
    "new\nline:\0\x1b[31m\udcff",
    "\u202etxt.exe:\ufffe",
    "",
    ":",
    "x" * 500,
)


def drawn(key: str, *edges: str, what: str = "ran", root: bool = False) -> Drawn:
    return Drawn(TaskKey(key), what, edges, root)


@st.composite
def graphs(draw: st.DrawFn) -> list[Drawn]:
    """Return tasks of a random acyclic graph, in any order."""
    count = draw(st.integers(0, 30))
    recipes = draw(st.integers(1, 5))
    keys = [f"r{n % recipes}:t{n}" for n in range(count)]
    tasks = [
        Drawn(
            TaskKey(key),
            draw(st.sampled_from(WHATS)),
            tuple(draw(st.lists(st.sampled_from(keys[:n]), max_size=4, unique=True)) if n else ()),
            draw(st.booleans()),
        )
        for n, key in enumerate(keys)
    ]
    return draw(st.permutations(tasks))


@given(graphs())
def test_tasks_do_not_overlap_and_lines_run_to_the_right(tasks: list[Drawn]) -> None:
    found = layout(tasks)
    assert len(found.boxes) == len(tasks)
    columns: dict[int, list[float]] = {}
    for box in found.boxes:
        columns.setdefault(box.layer, []).append(box.y)
        assert box.x >= 0 and box.x + box.width <= found.width
        assert box.y >= 0 and box.y + HEIGHT <= found.height
    for places in columns.values():
        assert all(low + HEIGHT < high for low, high in pairwise(sorted(places)))
    place = {task.key: box for task, box in zip(tasks, found.boxes, strict=True)}
    for task in tasks:
        for edge in task.edges:
            assert place[TaskKey(edge)].layer < place[task.key].layer
            assert place[TaskKey(edge)].x + place[TaskKey(edge)].width < place[task.key].x


@given(graphs())
def test_omitted_lines_are_implied(tasks: list[Drawn]) -> None:
    def below(edges: dict[TaskKey, set[str]]) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for number in dependencies_first(tasks)[0]:
            key = tasks[number].key
            found[key] = edges[key].union(*(found[edge] for edge in edges[key]))
        return found

    kept: dict[TaskKey, set[str]] = {task.key: set() for task in tasks}
    for start, end in layout(tasks).lines:
        kept[tasks[end].key].add(tasks[start].key)
    everything = {task.key: set(task.edges) for task in tasks}
    assert below(kept) == below(everything)
    assert all(kept[key] <= everything[key] for key in kept)


@given(graphs())
def test_both_drawings_have_every_task(tasks: list[Drawn]) -> None:
    nodes = list(ET.fromstring(svg(tasks)).iter(f"{SVG}a"))
    assert sorted(node.attrib["href"] for node in nodes) == sorted(
        f"#task-{anchor(task.key)}" for task in tasks
    )
    assert sorted(int(node.attrib["data-task"]) for node in nodes) == list(range(len(tasks)))
    text = dot(tasks)
    assert text.count("tooltip=") == len(tasks)
    assert text.count(" -> ") == sum(len(task.edges) for task in tasks)


@pytest.mark.parametrize(
    ("tasks", "layers", "lines"),
    [
        ([], [], []),
        ([drawn("a:1")], [0], []),
        ([drawn("a:2", "a:1"), drawn("a:1")], [1, 0], [(1, 0)]),
        # C depends on B and A, B on A: the edge from C to A is implied
        ([drawn("a"), drawn("b", "a"), drawn("c", "a", "b")], [0, 1, 2], [(0, 1), (1, 2)]),
        # a task that is needed late is drawn late
        (
            [drawn("a"), drawn("b", "a"), drawn("late"), drawn("c", "b", "late")],
            [0, 1, 1, 2],
            [(0, 1), (1, 3), (2, 3)],
        ),
        ([drawn("a", "not-drawn", "a")], [0], []),
        ([drawn("a", "b"), drawn("b", "a")], [0, 1], [(0, 1)]),
    ],
)
def test_layers_and_lines(
    tasks: list[Drawn], layers: list[int], lines: list[tuple[int, int]]
) -> None:
    found = layout(tasks)
    assert [box.layer for box in found.boxes] == layers
    assert sorted(found.lines) == lines


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ([], []),
        ([5.0], [5.0]),
        ([0.0, 3.0], [0.0, 3.0]),
        ([0.0, 0.0], [-0.5, 0.5]),
        ([1.0, 1.0, 1.0, 9.0], [0.0, 1.0, 2.0, 9.0]),
        ([4.0, 0.0], [1.5, 2.5]),
    ],
)
def test_spread(wanted: list[float], expected: list[float]) -> None:
    assert spread(wanted) == pytest.approx(expected)


def test_a_chain_of_chains_has_no_crossing() -> None:
    tasks = [
        drawn(f"r{n}:{step}", *([f"r{n}:{step - 1}"] if step else []))
        for step in range(6)
        for n in range(5)
    ]
    found = layout(tasks)
    for start, end in found.lines:
        assert found.boxes[start].y == pytest.approx(found.boxes[end].y)


@pytest.mark.parametrize("key", HOSTILE)
def test_hostile_keys_stay_text_in_svg(key: str) -> None:
    picture = ET.fromstring(svg([drawn(key, what=key), drawn(f"z:{key}", key, root=True)]).encode())
    names = {node.tag.removeprefix(SVG) for node in picture.iter()}
    assert names == {"svg", "style", "path", "a", "title", "rect", "text"}
    titles = [node.text for node in picture.iter(f"{SVG}title")]
    assert f"z:{printable(key)}: ran, root cause" in titles
    assert {node.attrib["class"] for node in picture.iter(f"{SVG}a")} == {
        "task not-built",
        "task ran root",
    }


def test_no_two_keys_have_the_same_anchor() -> None:
    keys = [*HOSTILE, "a b", "a%20b", "\udcff", "ÿ", "a:b", "a/b"]
    assert len({anchor(TaskKey(key)) for key in keys}) == len(keys)
    assert all(re.fullmatch(r"[\w:+@%./~-]*", anchor(TaskKey(key))) for key in keys)


def by_graphviz(text: str) -> ET.Element:
    program = shutil.which("dot")
    if program is None:
        pytest.skip("graphviz is not installed")
    done = subprocess.run(
        [program, "-Tsvg"], input=text.encode(), capture_output=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr.decode()) == (0, "")
    return ET.fromstring(done.stdout)


def groups(picture: ET.Element, name: str) -> list[ET.Element]:
    return [node for node in picture.iter(f"{SVG}g") if node.attrib.get("class") == name]


def test_graphviz_reads_the_dot() -> None:
    tasks = [
        drawn("a:1"),
        drawn("a:2", "a:1"),
        drawn("b:1", "a:1", "a:2", what="failed", root=True),
    ]
    picture = by_graphviz(dot(tasks))
    assert [len(groups(picture, name)) for name in ("node", "edge", "cluster")] == [3, 3, 2]


def test_graphviz_shows_hostile_keys_as_they_are() -> None:
    keys = [key for key in HOSTILE if key]
    tasks = [drawn(f"recipe-{n}{key}:{key}") for n, key in enumerate(keys)]
    picture = by_graphviz(dot(tasks))
    assert len(groups(picture, "node")) == len(groups(picture, "cluster")) == len(keys)
    texts = {node.text for node in picture.iter(f"{SVG}text")}
    # the part of a key before its first colon is the cluster's label
    expected = {printable(task.key.partition(":")[0]) for task in tasks}
    assert {" ".join(text.split()) for text in expected} <= {
        " ".join((text or "").split()) for text in texts
    }


def test_a_thousand_tasks_are_drawn_quickly() -> None:
    tasks = [
        drawn(
            f"r{n // 8}:t{n % 8}",
            *([f"r{n // 8}:t{n % 8 - 1}"] if n % 8 else [f"r{n // 16}:t7", f"r{n // 24}:t7"]),
        )
        for n in range(1000)
    ]
    tasks[0] = drawn("r0:t0")
    began = time.perf_counter()
    svg(tasks)
    seconds = time.perf_counter() - began
    print(f"1,000 tasks drawn in {seconds * 1000:.0f} ms")
    assert seconds < 5


def test_a_chain_of_any_length_is_drawn_without_recursion() -> None:
    tasks = [drawn(f"r:{n}", *([f"r:{n - 1}"] if n else [])) for n in range(3000)]
    assert len(layout(tasks).lines) == 2999
