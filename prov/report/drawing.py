"""Draw tasks and their edges as a Graphviz DOT graph, or as an SVG with a layout from this module.

The functions are pure: tasks in, text out. The style sheet is `drawing.css`. Keys may contain any
characters and are escaped, so they cannot add markup.

The layout of the SVG runs from left to right, with each task to the right of its dependencies:

1. Layers: the layer of a task is the length of the longest chain to it. Then each task moves right,
   next to its first user. Otherwise all fetch tasks would form one column far from their users.
2. Implied edges are omitted: if a task depends on C, and C depends on B, no line from B is drawn.
   DOT has all edges, for use by programs (`tred` removes the implied ones).
3. Rows: sweeps from left to right and back. In each sweep, a task moves to the mean height of its
   neighbours (the barycenter). The layer is sorted by these heights, and its tasks are placed as
   close to them as their sizes allow.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import accumulate
from typing import Protocol
from urllib.parse import quote

from prov.records.keys import TaskKey
from prov.report.assets import asset

PALETTE: Mapping[str, tuple[str, str]] = {
    "ran": ("#0b57c4", "#82b4ff"),
    "restored": ("#0a6b66", "#5ccfc2"),
    "skipped": ("#6a3ea8", "#c6a8f7"),
    "stale": ("#855400", "#e3b260"),
    "failed": ("#b8150c", "#ff8f85"),
    "up to date": ("#57606b", "#9da7b2"),
    "not built": ("#57606b", "#9da7b2"),
}
"""Outcome -> its colours in light and dark mode.

All have a contrast of at least 4.5 to their background.
"""

BASE: Mapping[str, tuple[str, str]] = {
    "paper": ("#ffffff", "#14171b"),
    "ink": ("#1a1e23", "#e3e7eb"),
    "quiet": ("#57606b", "#9da7b2"),
    "line": ("#87919c", "#626d78"),
}

SWEEPS = 10
ROW, HEIGHT = 48, 38
"""Distance between the tasks of a layer, and the height of a task, in pixels."""
GUTTER, MARGIN, LETTER = 44, 12, 7.1
"""Distance between layers, outer margin, and width of a letter, in pixels."""
LONGEST = 26
"""Maximum length of a label. A longer label is shortened in the middle; the title is complete."""


class Linked(Protocol):
    """A task with dependencies."""

    @property
    def key(self) -> str: ...
    @property
    def edges(self) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True)
class Drawn:
    """A task of a drawing."""

    key: TaskKey
    what: str
    """ran, restored, skipped, stale, failed, up to date or not built."""
    edges: tuple[str, ...]
    """Keys of its dependencies. Tasks outside the drawing are ignored."""
    root: bool
    """Whether it is a root cause: one of its own inputs changed."""


def dependencies_first(tasks: Sequence[Linked]) -> tuple[list[int], list[list[int]]]:
    """Return an order with dependencies first, and each task's edges, all as indexes.

    Builds have no cycles. In an artificial cycle, the closing edges are dropped.
    """
    index = {task.key: number for number, task in enumerate(tasks)}
    takes = [
        sorted({index[key] for key in task.edges if key in index} - {number})
        for number, task in enumerate(tasks)
    ]
    order = _order(takes)
    places = {number: place for place, number in enumerate(order)}
    earlier = [
        [other for other in others if places[other] < places[number]]
        for number, others in enumerate(takes)
    ]
    return order, earlier


def _order(takes: Sequence[Sequence[int]]) -> list[int]:
    """Return the indexes of tasks with dependencies first.

    If only tasks in cycles remain, the first of them is next.
    """
    users = _users(takes)
    waits = [len(others) for others in takes]
    ready = deque(number for number, count in enumerate(waits) if not count)
    others = iter(range(len(takes)))
    order: dict[int, None] = {}
    while len(order) < len(takes):
        number = ready.popleft() if ready else next(n for n in others if n not in order)
        if number in order:
            continue
        order[number] = None
        for user in users[number]:
            waits[user] -= 1
            if not waits[user]:
                ready.append(user)
    return list(order)


def printable(text: str) -> str:
    """Return a text with invisible characters (controls, lone surrogates, bidi marks) escaped."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


def anchor(key: TaskKey) -> str:
    """Return a key as a URL fragment. Different keys have different fragments."""
    return quote(key, safe=":+@", errors="surrogatepass")


# DOT


def dot(tasks: Sequence[Drawn]) -> str:
    """Return the tasks and all their edges as a Graphviz graph, with one cluster per recipe."""
    recipes: dict[str, list[int]] = {}
    for number, task in enumerate(tasks):
        recipes.setdefault(task.key.recipe, []).append(number)
    lines = [
        "digraph prov {",
        "  rankdir=LR;",
        '  graph [fontname="sans-serif", style=rounded, color="#c3cad2"];',
        '  node [fontname="sans-serif", shape=box, style=rounded];',
        '  edge [color="#57606b"];',
    ]
    for cluster, (recipe, members) in enumerate(recipes.items()):
        lines.append(f"  subgraph cluster_{cluster} {{")
        lines.append(f"    label={_quoted(recipe)};")
        lines += [f"    {_dot_node(number, tasks[number])}" for number in members]
        lines.append("  }")
    _, takes = dependencies_first(tasks)
    lines += [
        f"  t{other} -> t{number};" for number, others in enumerate(takes) for other in others
    ]
    return "\n".join([*lines, "}", ""])


def _dot_node(number: int, task: Drawn) -> str:
    colour = PALETTE.get(task.what, PALETTE["not built"])[0]
    width = ", penwidth=3" if task.root else ""
    label = _quoted(task.key.task or task.key)
    return f't{number} [label={label}, tooltip={_quoted(_title(task))}, color="{colour}"{width}];'


def _quoted(text: str) -> str:
    # Graphviz reads escapes (\N, \l) in labels, and entities of HTML too
    escaped = printable(text).replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;")
    return f'"{escaped}"'


# SVG


@dataclass(frozen=True, slots=True)
class Box:
    """Position of a task: its upper left corner and its width, in pixels.

    The height is HEIGHT.
    """

    layer: int
    x: float
    y: float
    width: float


@dataclass(frozen=True, slots=True)
class Layout:
    """The positions of a drawing and its lines (from, to), with tasks as indexes."""

    boxes: list[Box]
    lines: list[tuple[int, int]]
    width: float
    height: float


def layout(tasks: Sequence[Drawn]) -> Layout:
    """Return the position of each task, and the edges to draw."""
    order, takes = dependencies_first(tasks)
    takes = _without_implied(order, takes)
    users = _users(takes)
    layer = _layers(order, takes, users)
    columns: list[list[int]] = [[] for _ in range(max(layer, default=-1) + 1)]
    recipe = {
        name: number for number, name in enumerate(dict.fromkeys(task.key.recipe for task in tasks))
    }
    for number in sorted(range(len(tasks)), key=lambda n: recipe[tasks[n].key.recipe]):
        columns[layer[number]].append(number)
    rows = _rows(columns, takes, users)
    widths = [max(_label_width(tasks[number]) for number in column) for column in columns]
    lefts = list(accumulate((width + GUTTER for width in widths), initial=float(MARGIN)))
    boxes = [
        Box(layer[number], lefts[layer[number]], MARGIN + rows[number] * ROW, widths[layer[number]])
        for number in range(len(tasks))
    ]
    return Layout(
        boxes,
        [(other, number) for number, others in enumerate(takes) for other in others],
        max(lefts[-1] - GUTTER + MARGIN, 2 * MARGIN),
        max((box.y + HEIGHT for box in boxes), default=MARGIN) + MARGIN,
    )


def spread(targets: Sequence[float]) -> list[float]:
    """Return places at least 1 apart, in order, and nearest to the targets (least squares).

    Neighbours with overlapping places form a block around the mean of their targets. Blocks grow
    until they no longer overlap: the pool adjacent violators algorithm of isotonic regression.
    """
    blocks: list[tuple[float, int]] = []
    for number, target in enumerate(targets):
        total, count = target - number, 1
        while blocks and blocks[-1][0] * count >= total * blocks[-1][1]:
            before, many = blocks.pop()
            total, count = total + before, count + many
        blocks.append((total, count))
    shifts = [total / count for total, count in blocks for _ in range(count)]
    return [shift + number for number, shift in enumerate(shifts)]


def _users(takes: Sequence[Sequence[int]]) -> list[list[int]]:
    users: list[list[int]] = [[] for _ in takes]
    for number, others in enumerate(takes):
        for other in others:
            users[other].append(number)
    return users


def _without_implied(order: Sequence[int], takes: Sequence[Sequence[int]]) -> list[list[int]]:
    # a bit set of all dependencies for each task: 125 bytes for a thousand tasks
    below = [0] * len(takes)
    needed: list[list[int]] = [[] for _ in takes]
    for number in order:
        implied = direct = 0
        for other in takes[number]:
            implied |= below[other]
            direct |= 1 << other
        needed[number] = [other for other in takes[number] if not implied >> other & 1]
        below[number] = implied | direct
    return needed


def _layers(
    order: Sequence[int], takes: Sequence[Sequence[int]], users: Sequence[Sequence[int]]
) -> list[int]:
    layer = [0] * len(takes)
    for number in order:
        layer[number] = max((layer[other] + 1 for other in takes[number]), default=0)
    for number in reversed(order):
        layer[number] = min((layer[user] - 1 for user in users[number]), default=layer[number])
    return layer


def _rows(
    columns: list[list[int]], takes: Sequence[Sequence[int]], users: Sequence[Sequence[int]]
) -> list[float]:
    row = [0.0] * len(takes)
    for column in columns:
        for place, number in enumerate(column):
            row[number] = place - len(column) / 2

    def mean_row(number: int, near: Sequence[Sequence[int]]) -> float:
        return (
            sum(row[other] for other in near[number]) / len(near[number])
            if near[number]
            else row[number]
        )

    for sweep in range(SWEEPS):
        near = users if sweep % 2 else takes
        for column in reversed(columns) if sweep % 2 else columns:
            means = {number: mean_row(number, near) for number in column}
            column.sort(key=means.__getitem__)
            for number, height in zip(
                column, spread([means[number] for number in column]), strict=True
            ):
                row[number] = height
    top = min(row, default=0.0)
    return [place - top for place in row]


def _class(what: str) -> str:
    return what.replace(" ", "-") if what in PALETTE else "not-built"


def variables() -> str:
    """Return the colours as CSS variables, for light and dark mode."""
    colours = {**BASE, **{_class(what): pair for what, pair in PALETTE.items()}}
    light, dark = (
        " ".join(f"--{name}: {pair[i]};" for name, pair in colours.items()) for i in (0, 1)
    )
    return (
        f":root, .prov-graph {{ color-scheme: light dark; {light} }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root, .prov-graph {{ {dark} }} }}\n"
    )


def style() -> str:
    """Return the drawing's style sheet.

    All rules except the colours apply only to its class, so it can be embedded in a page.
    """
    classes = map(_class, PALETTE)
    kinds = "".join(f".prov-graph .{name} {{ color: var(--{name}); }}\n" for name in classes)
    return variables() + asset("drawing.css") + kinds


def svg(tasks: Sequence[Drawn]) -> str:
    """Return the tasks as a standalone SVG.

    Each task links to `#task-KEY` (see `anchor`) and has its index as `data-task`.
    """
    drawing = layout(tasks)
    boxes = drawing.boxes
    size = f"{drawing.width:.0f}", f"{drawing.height:.0f}"
    # by layer, then top to bottom: the order of keyboard navigation
    order = sorted(range(len(tasks)), key=lambda number: (boxes[number].layer, boxes[number].y))
    return "\n".join(
        [
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" class="prov-graph" width="{size[0]}"'
                f' height="{size[1]}" viewBox="0 0 {size[0]} {size[1]}" role="group"'
                ' aria-label="Tasks and their dependencies">'
            ),
            f"<style>{style()}</style>",
            *(_svg_line(boxes, start, end) for start, end in drawing.lines),
            *(_svg_task(number, tasks[number], boxes[number]) for number in order),
            "</svg>",
        ]
    )


def _svg_line(boxes: Sequence[Box], start: int, end: int) -> str:
    x, y = boxes[start].x + boxes[start].width, boxes[start].y + HEIGHT / 2
    to_x, to_y = boxes[end].x, boxes[end].y + HEIGHT / 2
    # bent within the last gutter, so a long line stays level until near its end
    bend = GUTTER / 2
    level = to_x - GUTTER
    path = (
        f"M{x:.1f} {y:.1f}H{level:.1f}C{level + bend:.1f} {y:.1f} {to_x - bend:.1f} {to_y:.1f}"
        f" {to_x:.1f} {to_y:.1f}"
    )
    return f'<path class="edge" data-from="{start}" data-to="{end}" d="{path}"/>'


def _svg_task(number: int, task: Drawn, box: Box) -> str:
    recipe, _, name = (escape(_short(part)) for part in _label(task))
    x, y = f"{box.x:.1f}", f"{box.y:.1f}"
    left = f"{box.x + 13:.1f}"
    classes = f"task {_class(task.what)}"
    if task.root:
        classes += " root"
    return (
        f'<a class="{classes}" data-task="{number}" '
        f'href="#task-{escape(anchor(task.key))}"><title>{escape(_title(task))}</title>'
        f'<rect class="box" x="{x}" y="{y}" width="{box.width:.1f}" height="{HEIGHT}" rx="4"/>'
        f'<rect class="bar" x="{x}" y="{y}" width="5" height="{HEIGHT}" rx="2"/>'
        f'<text class="of" x="{left}" y="{box.y + 15:.1f}">{recipe}</text>'
        f'<text x="{left}" y="{box.y + 30:.1f}">{name}</text></a>'
    )


def _label(task: Drawn) -> tuple[str, str, str]:
    if ":" not in task.key:
        return ("", "", task.key)
    return (task.key.recipe, ":", task.key.task)


def _label_width(task: Drawn) -> float:
    return max(len(_short(part)) for part in _label(task)) * LETTER + 26


def _short(text: str) -> str:
    text = printable(text)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 12]}…{text[-11:]}"


def _title(task: Drawn) -> str:
    title = f"{printable(task.key)}: {printable(task.what)}"
    return f"{title}, root cause" if task.root else title
