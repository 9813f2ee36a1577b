"""Tasks and their edges as a drawing: Graphviz's DOT, or an SVG whose layout is made here.

Tasks go in, text comes out; the style sheet is `drawing.css`. Keys may hold anything and are
escaped; nothing in them can add markup.

The SVG's layout goes from left to right, so that a task is right of all that it takes from:

1. Layers: a task's layer is the length of the longest chain that leads to it. Then each task moves
   right, next to the first task that uses it. Otherwise all fetch tasks would be one column far
   from where they are used.
2. Edges that follow from others are left out: a task that takes from C, which takes from B, needs
   no line from B. DOT has all of them, for programs (`tred` does the same there).
3. Places: sweeps from left to right and back. In each, a task moves to the mean height of its
   neighbours (the barycenter); the layer is sorted by that, and its tasks are put as near to it as
   their size allows.
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
    "cut off": ("#6a3ea8", "#c6a8f7"),
    "stale": ("#855400", "#e3b260"),
    "failed": ("#b8150c", "#ff8f85"),
    "up to date": ("#57606b", "#9da7b2"),
    "not built": ("#57606b", "#9da7b2"),
}
"""What happened -> its colour on paper, and in the dark.

All have a contrast of at least 4.5 to what is behind them.
"""

BASE: Mapping[str, tuple[str, str]] = {
    "paper": ("#ffffff", "#14171b"),
    "ink": ("#1a1e23", "#e3e7eb"),
    "quiet": ("#57606b", "#9da7b2"),
    "line": ("#87919c", "#626d78"),
}

SWEEPS = 10
ROW, HEIGHT = 48, 38
"""From one task of a layer to the next, and a task's own height, in pixels."""
GUTTER, MARGIN, LETTER = 44, 12, 7.1
"""Between two layers; around all; of a label's letter. In pixels."""
LONGEST = 26
"""Letters of a label; what is longer is shortened in the middle, and whole in the title."""


class Linked(Protocol):
    """What an order of tasks is made of."""

    @property
    def key(self) -> str: ...
    @property
    def edges(self) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True)
class Drawn:
    """A task of a drawing."""

    key: TaskKey
    what: str
    """ran, restored, cut off, stale, failed, up to date or not built."""
    edges: tuple[str, ...]
    """Keys of the tasks that it takes from; those that are not drawn themselves are left out."""
    root: bool
    """It is a root cause: something of its own changed."""


def dependencies_first(tasks: Sequence[Linked]) -> tuple[list[int], list[list[int]]]:
    """Return an order in which each task comes after those it takes from, and each task's edges,
    all as indexes.

    No build has a circle of edges. A made-up one loses the edges that close it.
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
    """Return the indexes of tasks in an order in which each comes after those it takes from.

    Where a circle leaves no such task, the first of the others comes next.
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
    """Return a text with all that can't be seen (controls, lone surrogates, marks of direction)
    written as escapes.
    """
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


def anchor(key: TaskKey) -> str:
    """Return a key as part of an address: no two keys give the same."""
    return quote(key, safe=":+@", errors="surrogatepass")


# DOT


def dot(tasks: Sequence[Drawn]) -> str:
    """Return the tasks and all their edges as a graph for Graphviz, one cluster for each recipe."""
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
    """Where a task is drawn: its upper left corner and its width, in pixels.

    All are HEIGHT high.
    """

    layer: int
    x: float
    y: float
    width: float


@dataclass(frozen=True, slots=True)
class Layout:
    """All places of a drawing, and the lines (from, to) that it needs. Tasks are indexes."""

    boxes: list[Box]
    lines: list[tuple[int, int]]
    width: float
    height: float


def layout(tasks: Sequence[Drawn]) -> Layout:
    """Return where each task is drawn, and which of the edges."""
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


def spread(wanted: Sequence[float]) -> list[float]:
    """Return places that are at least 1 apart, in the given order, and nearest to the wanted ones
    (least squares).

    Neighbours that want the same place become a block around the mean of what they want, and grow
    until all blocks are apart: the pooling of adjacent violators, as in isotonic regression.
    """
    blocks: list[tuple[float, int]] = []
    for number, want in enumerate(wanted):
        total, count = want - number, 1
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
    # for each task all that are below it, a bit each: a thousand tasks are 125 bytes
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

    def wish(number: int, near: Sequence[Sequence[int]]) -> float:
        return (
            sum(row[other] for other in near[number]) / len(near[number])
            if near[number]
            else row[number]
        )

    for sweep in range(SWEEPS):
        near = users if sweep % 2 else takes
        for column in reversed(columns) if sweep % 2 else columns:
            wishes = {number: wish(number, near) for number in column}
            column.sort(key=wishes.__getitem__)
            for number, height in zip(
                column, spread([wishes[number] for number in column]), strict=True
            ):
                row[number] = height
    top = min(row, default=0.0)
    return [place - top for place in row]


def _class(what: str) -> str:
    return what.replace(" ", "-") if what in PALETTE else "not-built"


def variables() -> str:
    """Return the colours as CSS variables: declarations for the light, then for the dark."""
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

    All rules but the colours' are bound to its class, so that a page may hold it.
    """
    classes = map(_class, PALETTE)
    kinds = "".join(f".prov-graph .{name} {{ color: var(--{name}); }}\n" for name in classes)
    return variables() + asset("drawing.css") + kinds


def svg(tasks: Sequence[Drawn]) -> str:
    """Return the tasks as an SVG of its own.

    A task is a link to `#task-KEY` (`anchor`), its `data-task` its index.
    """
    drawing = layout(tasks)
    boxes = drawing.boxes
    size = f"{drawing.width:.0f}", f"{drawing.height:.0f}"
    # by layers and downwards: the order in which a keyboard goes through them
    order = sorted(range(len(tasks)), key=lambda number: (boxes[number].layer, boxes[number].y))
    return "\n".join(
        [
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" class="prov-graph" width="{size[0]}"'
                f' height="{size[1]}" viewBox="0 0 {size[0]} {size[1]}" role="group"'
                ' aria-label="Tasks, and what they take from each other">'
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
    # bent within the last gutter: a long line stays level until it is near where it ends
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
    return f"{title}, a root cause" if task.root else title
