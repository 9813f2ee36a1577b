"""Render the page of a report: one self-contained HTML file about a build.

This module is pure: it turns a `Report`, which `build_report` reads from the store, into text. The
template `page.html` receives the style sheet `report.css`, the script `report.js`, the colours, the
drawing of the graph, an overview as JSON, and the details of each task (mostly its log) as separate
JSON. The script parses a task's details only when its page is opened, so a thousand logs cost
nothing until then.

Text of a build is always in the page as JSON without `<`, `>` and `&`, or escaped for HTML in the
title and the drawing, and the page's script inserts it as text. In addition, the page's content
security policy (CSP) allows only that one script, by its hash, and loads nothing.
"""

from __future__ import annotations

import base64
import hashlib
import heapq
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from html import escape

from prov.records.keys import TaskKey
from prov.report.assets import asset
from prov.report.drawing import Drawn, anchor, dependencies_first, printable, svg, variables

WORKED = ("ran", "failed")
"""Outcomes of tasks that started their scripts."""


@dataclass(frozen=True, slots=True)
class ChangedInput:
    """An input of a task that changed since the previous build."""

    kind: str
    name: str
    diff: str
    """A unified diff."""


@dataclass(frozen=True, slots=True)
class TaskCard:
    """A task of the build."""

    key: TaskKey
    what: str
    """ran, restored, skipped, stale, failed, up to date or not built."""
    began: float | None
    """Seconds since the start of the build."""
    seconds: float | None
    added: int
    """Bytes added to the store."""
    task_hash: str
    output: str
    tag: str
    edges: tuple[str, ...]
    """Keys of its dependencies."""
    root: bool
    """Whether it is a root cause: one of its own inputs changed."""
    inputs: tuple[ChangedInput, ...]
    """Inputs that changed since the previous build."""
    inputs_all: tuple[tuple[str, str], ...]
    """Name and text of every input."""
    changes: tuple[str, ...]
    """Changes to its WORKDIR: `A usr/bin/hello`."""
    log: str
    problem: str
    """Reason for a failure; empty on success."""
    place: str = ""
    """The worker of a farm that ran it; empty for the machine of the build."""


@dataclass(frozen=True, slots=True)
class BuildHead:
    """A summary of a build."""

    id: str
    when: float
    """Start time, in seconds since the epoch."""
    result: str
    seconds: float
    targets: str
    host: str
    labels: tuple[str, ...]
    counts: dict[str, int]
    """Outcome -> number of tasks."""


@dataclass(frozen=True, slots=True)
class CauseCard:
    """A changed input, and the tasks that ran because of it."""

    kind: str
    name: str
    diff: str
    tasks: tuple[str, ...]
    """Keys of the tasks with this input."""
    followed: int
    """Number of tasks that changed only as a consequence."""


@dataclass(frozen=True, slots=True)
class RecipeRow:
    """The cost of a recipe in this build: seconds of its tasks, and bytes added to the store."""

    name: str
    version: str
    seconds: float
    added: int
    ran: int
    """Number of its tasks that ran."""


@dataclass(frozen=True, slots=True)
class Report:
    """The content of the page.

    `before` is the previous build, for comparison; None for the first build.
    """

    build: BuildHead
    before: BuildHead | None
    tasks: tuple[TaskCard, ...]
    causes: tuple[CauseCard, ...]
    recipes: tuple[RecipeRow, ...]


@dataclass(frozen=True, slots=True)
class CriticalPath:
    """The longest chain of tasks by time: a lower bound of a build's duration with any workers."""

    keys: tuple[str, ...]
    seconds: float


def lanes(tasks: Sequence[TaskCard]) -> dict[str, int]:
    """Return key -> lane for tasks with known times. Tasks in one lane never overlap.

    The lanes of each worker of a farm are next to each other, after those of the build's machine.
    In order of their start, each task gets the lowest free lane of its worker. A new lane is added
    only if all others are in use at that time, so the number of lanes is minimal.
    """
    lane_of: dict[str, int] = {}
    for place in sorted({task.place for task in tasks}):
        own = _lanes_of_one([task for task in tasks if task.place == place])
        first = max(lane_of.values(), default=-1) + 1
        lane_of |= {key: first + lane for key, lane in own.items()}
    return lane_of


def _lanes_of_one(tasks: Sequence[TaskCard]) -> dict[str, int]:
    """Return key -> lane, from 0, for the tasks of one machine."""
    lane_of: dict[str, int] = {}
    busy: list[tuple[float, int]] = []
    free: list[int] = []
    timed = [
        (t.began, t.seconds, t.key) for t in tasks if t.began is not None and t.seconds is not None
    ]
    for began, seconds, key in sorted(timed):
        while busy and busy[0][0] <= began:
            heapq.heappush(free, heapq.heappop(busy)[1])
        lane = heapq.heappop(free) if free else len(busy)
        heapq.heappush(busy, (began + seconds, lane))
        lane_of[key] = lane
    return lane_of


def critical_path(tasks: Sequence[TaskCard]) -> CriticalPath:
    """Return the longest chain by seconds of tasks that ran, first to last."""
    worked = [task for task in tasks if task.what in WORKED and task.seconds is not None]
    order, takes = dependencies_first(worked)
    total = [0.0] * len(worked)
    before: list[int | None] = [None] * len(worked)
    for number in order:
        longest = max(takes[number], key=total.__getitem__, default=None)
        before[number] = longest
        total[number] = (worked[number].seconds or 0.0) + (
            total[longest] if longest is not None else 0.0
        )
    at = max(order, key=total.__getitem__, default=None)
    seconds = total[at] if at is not None else 0.0
    keys: list[str] = []
    while at is not None:
        keys.append(worked[at].key)
        at = before[at]
    return CriticalPath(tuple(reversed(keys)), seconds)


def render(report: Report) -> str:
    """Return the page."""
    style = f"<style>\n{asset('report.css')}</style>"
    script = f"<script>\n{asset('report.js')}</script>"
    drawing = svg([Drawn(task.key, task.what, task.edges, task.root) for task in report.tasks])
    colours = f"<style>{variables()}</style>"
    parts = {
        "policy": _policy(style, script, colours, drawing),
        "style": style,
        "script": script,
        "title": escape(
            f"prov: build {printable(report.build.id)}, {printable(report.build.result)}"
        ),
        "colours": colours,
        "graph": drawing,
        "overview": _json("overview", _overview(report)),
        "details": "\n".join(
            _json(f"details-{number}", _details(task)) for number, task in enumerate(report.tasks)
        ),
    }
    # in one pass, so that inserted text is not searched for placeholders
    return re.sub(r"<!--put: (\w+)-->", lambda place: parts[place[1]], asset("page.html"))


def _overview(report: Report) -> dict[str, object]:
    path = critical_path(report.tasks)
    lane = lanes(report.tasks)
    return {
        "build": asdict(report.build),
        "before": asdict(report.before) if report.before else None,
        "tasks": [_brief(task, lane.get(task.key)) for task in report.tasks],
        "critical": {"keys": path.keys, "seconds": path.seconds},
        "causes": [asdict(cause) for cause in report.causes],
        "recipes": [asdict(row) for row in report.recipes],
    }


def _brief(task: TaskCard, lane: int | None) -> dict[str, object]:
    return {
        "key": task.key,
        "anchor": anchor(task.key),
        "what": task.what,
        "began": task.began,
        "seconds": task.seconds,
        "lane": lane,
        "place": task.place,
        "added": task.added,
        "edges": task.edges,
        "root": task.root,
        "problem": task.problem,
    }


def _details(task: TaskCard) -> dict[str, object]:
    return {
        "hash": task.task_hash,
        "output": task.output,
        "tag": task.tag,
        "inputs": [asdict(changed) for changed in task.inputs],
        "all": task.inputs_all,
        "changes": task.changes,
        "log": task.log,
    }


def _json(name: str, value: object) -> str:
    """Return a value as an element of text that the value cannot close.

    Within `<script>`, HTML ends only at `</script` and treats only `<!--` specially, for any type.
    Without `<`, neither can occur. ASCII output escapes the lone surrogates of undecodable paths,
    so the page can be encoded.
    """
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return f'<script type="application/json" id="{name}">{text}</script>'


def _policy(*markup: str) -> str:
    hashes = {
        element: " ".join(
            dict.fromkeys(
                f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
                for text in markup
                for content in re.findall(rf"<{element}>(.*?)</{element}>", text, re.DOTALL)
            )
        )
        for element in ("script", "style")
    }
    rules = (
        "default-src 'none'",
        f"script-src {hashes['script']}",
        f"style-src {hashes['style']}",
        "img-src data:",  # for the empty icon; without it, the browser would request one
        "base-uri 'none'",
        "form-action 'none'",
    )
    return f'<meta http-equiv="Content-Security-Policy" content="{"; ".join(rules)}">'
