"""The page of a report: one HTML file that needs nothing else, made of what a build did.

A `Report` goes in, text comes out; `build_report` fills it from the store. The page is `page.html`
with these put in: the style sheet `report.css`, the script `report.js`, the colours, the drawing of
the graph, an overview as JSON, and the details of each task (its log, above all) as JSON of their
own. The script parses a task's details when its page is opened, so that a thousand logs cost
nothing until then.

What always holds: text of a build is in the page as JSON without `<`, `>` and `&`, or escaped for
HTML in the title and the drawing, and the page's script puts it in as text. Beyond that, the page's
policy (CSP) lets only that one script run, by its hash, and lets nothing be loaded.
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
"""What is said of tasks whose scripts were started."""


@dataclass(frozen=True, slots=True)
class ChangedInput:
    """An input of a task that is not as it was in the build before."""

    kind: str
    name: str
    diff: str
    """A unified diff."""


@dataclass(frozen=True, slots=True)
class TaskCard:
    """A task of the build."""

    key: TaskKey
    what: str
    """ran, restored, cut off, stale, failed, up to date or not built."""
    began: float | None
    """Seconds since the build began."""
    seconds: float | None
    added: int
    """Bytes that it added to the store."""
    task_hash: str
    output: str
    tag: str
    edges: tuple[str, ...]
    """Keys of the tasks that it takes from."""
    root: bool
    """It is a root cause: something of its own changed."""
    inputs: tuple[ChangedInput, ...]
    """What changed of its inputs since the build before."""
    inputs_all: tuple[tuple[str, str], ...]
    """Name and text of every input."""
    changes: tuple[str, ...]
    """What it changed in its WORKDIR: `A usr/bin/hello`."""
    log: str
    problem: str
    """Why it failed; empty if it did not."""


@dataclass(frozen=True, slots=True)
class BuildHead:
    """A build as a whole."""

    id: str
    when: float
    """When it began, in seconds since the epoch."""
    result: str
    seconds: float
    targets: str
    host: str
    labels: tuple[str, ...]
    counts: dict[str, int]
    """What happened -> to how many tasks."""


@dataclass(frozen=True, slots=True)
class CauseCard:
    """Something that changed, and what ran because of it."""

    kind: str
    name: str
    diff: str
    tasks: tuple[str, ...]
    """Keys of the tasks that have it among their own inputs."""
    followed: int
    """How many tasks merely followed those."""


@dataclass(frozen=True, slots=True)
class RecipeRow:
    """What a recipe cost in this build: seconds of its tasks, bytes added to the store."""

    name: str
    version: str
    seconds: float
    added: int
    ran: int
    """How many of its tasks ran."""


@dataclass(frozen=True, slots=True)
class Report:
    """All that the page shows.

    `before` is the build that this one is compared with, None if it is the first.
    """

    build: BuildHead
    before: BuildHead | None
    tasks: tuple[TaskCard, ...]
    causes: tuple[CauseCard, ...]
    recipes: tuple[RecipeRow, ...]


@dataclass(frozen=True, slots=True)
class CriticalPath:
    """The chain of tasks that took longest: however many workers there are, a build takes no less
    than its seconds.
    """

    keys: tuple[str, ...]
    seconds: float


def lanes(tasks: Sequence[TaskCard]) -> dict[str, int]:
    """Return key -> lane for tasks with known times, so that no two of a lane overlap and lanes are
    fewest.

    In the order in which they began, each takes the lowest lane that is free then: a new lane is
    opened only when all others are in use at that moment, and so no more than what ran at once at
    some time.
    """
    found: dict[str, int] = {}
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
        found[key] = lane
    return found


def critical_path(tasks: Sequence[TaskCard]) -> CriticalPath:
    """Return the longest chain by seconds among the tasks that ran, first to last."""
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
    # in one pass: what was put in is not searched for places again
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
    """Return a value as an element that the browser reads as text and that no text can end.

    Within `<script>`, HTML looks for `</script` and `<!--` whatever the type, and for nothing else:
    without `<`, there is neither. ASCII, so that the lone surrogates of an undecodable path are
    escapes and the page can be encoded.
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
        "img-src data:",  # the empty icon, or the browser would ask for one
        "base-uri 'none'",
        "form-action 'none'",
    )
    return f'<meta http-equiv="Content-Security-Policy" content="{"; ".join(rules)}">'
