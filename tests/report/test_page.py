"""The page of a report: its computed data, injection of text, and its behaviour in Chromium."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prov.records.keys import TaskKey
from prov.report.assets import asset
from prov.report.drawing import BASE, PALETTE
from prov.report.page import (
    BuildHead,
    CauseCard,
    ChangedInput,
    RecipeRow,
    Report,
    TaskCard,
    critical_path,
    lanes,
    render,
)

if TYPE_CHECKING:
    from selenium.webdriver import Chrome
    from selenium.webdriver.remote.webelement import WebElement

STEPS = ("fetch", "unpack", "configure", "compile", "install", "package")
HOSTILE = (
    "</script><script>window.broken = 1</script>",
    "<!--<script>",
    "]]>",
    "<img src=x onerror='window.broken = 2'>",
    "\" onfocus='window.broken = 3' autofocus x=\"",
    "javascript:window.broken = 4",
    "\u2028 \0 \x1b[31m \udcff %00 &lt; \\u003c 😀 <!--put: details-->",
    "__proto__",
)


def card(
    key: str, seconds: float | None = None, edges: tuple[str, ...] = (), began: float | None = 0.0
) -> TaskCard:
    return TaskCard(
        key=TaskKey(key),
        what="ran" if seconds is not None else "up to date",
        began=began if seconds is not None else None,
        seconds=seconds,
        added=0,
        task_hash="",
        output="",
        tag="",
        edges=edges,
        root=False,
        inputs=(),
        inputs_all=(),
        changes=(),
        log="",
        problem="",
    )


def head(tasks: tuple[TaskCard, ...], seconds: float, number: int = 42) -> BuildHead:
    counts: dict[str, int] = {}
    for task in tasks:
        counts[task.what] = counts.get(task.what, 0) + 1
    result = "failed" if "failed" in counts else "done"
    return BuildHead(
        f"{number}",
        1.79e9 + number,
        result,
        seconds,
        "image sdk",
        "builder-3",
        ("nightly", "x86"),
        counts,
    )


NAMES = [
    "zlib",
    "openssl",
    "hello",
    "busybox",
    "curl",
    "image",
    "linux",
    "glibc",
    "gcc",
    "ninja",
    "expat",
    "python3",
]
DIFF = (
    "--- before\n+++ now\n@@ -1,3 +1,3 @@\n CC = gcc\n-CFLAGS = -O2\n+CFLAGS = -O2 -g\n LDFLAGS =\n"
)


def made(count: int, log: str = "") -> Report:
    """Return a report of a realistic build: chains of tasks, and recipes with dependencies."""
    cards: list[TaskCard] = []
    workers = [0.0] * 4
    ends: dict[str, float] = {}
    for number in range(count):
        recipe, step = divmod(number, len(STEPS))
        names = [NAMES[n] if n < len(NAMES) else f"library-{n}" for n in range(recipe + 1)]
        key = f"{names[recipe]}:{STEPS[step]}"
        edges = [f"{names[recipe]}:{STEPS[step - 1]}"] if step else []
        if STEPS[step] == "configure":
            edges += [
                f"{names[n]}:install"
                for n in {(recipe * 7) // 11, recipe // 2, recipe // 3}
                if n < recipe
            ]
        what = ("up to date", "ran", "ran", "restored", "ran", "skipped", "ran", "ran")[recipe % 8]
        if number == count - 2:
            what = "failed"
        elif number == count - 1:
            what = "not built"
        task = replace(
            card(key, edges=tuple(edges)), what=what, log=log, task_hash=f"{number:040x}"
        )
        if what in ("ran", "restored", "failed"):
            seconds = 0.2 + (number * 37 % 23) ** 1.3 * (2.5 if STEPS[step] == "compile" else 0.4)
            ready = max((ends.get(edge, 0.0) for edge in edges), default=0.0)
            worker = min(range(4), key=lambda n: max(workers[n], ready))
            began = max(workers[worker], ready) + 0.05
            workers[worker] = ends[key] = began + seconds
            changed = ChangedInput("variable", "CFLAGS", DIFF)
            task = replace(
                task,
                began=began,
                seconds=seconds,
                added=(number * 7919 % 997) * 9973,
                root=step == 2 and recipe % 3 == 1,
                output=f"{number * 31:040x}",
                tag=f"{key.replace(':', '/')}/{number:040x}/1",
                inputs=(changed,) if step == 2 else (),
                inputs_all=(
                    ("script", "set -e\nmake -j4\n"),
                    ("variables/CFLAGS", "-O2 -g\n"),
                    ("sources/a", "blob 1\n"),
                ),
                changes=("A usr/bin/hello", "M usr/lib/libz.so.1", "D usr/share/doc/old"),
                problem=(
                    "hello.c:3:10: fatal error: zlib.h: No such file or directory"
                    if what == "failed"
                    else ""
                ),
            )
        cards.append(task)
    tasks = tuple(cards)
    recipes = tuple(
        RecipeRow(
            name,
            "1.2.13",
            sum(task.seconds or 0.0 for task in tasks if task.key.startswith(f"{name}:")),
            sum(task.added for task in tasks if task.key.startswith(f"{name}:")),
            sum(task.what == "ran" for task in tasks if task.key.startswith(f"{name}:")),
        )
        for name in dict.fromkeys(task.key.partition(":")[0] for task in tasks)
    )
    roots = tuple(task.key for task in tasks if task.root)
    causes = (
        CauseCard("variable", "CFLAGS", DIFF, roots, sum(task.what == "ran" for task in tasks)),
        CauseCard("source", "fix-build.patch", "", roots[:1], 0),
    )
    return Report(
        head(tasks, max(workers)), head(tasks, max(workers) * 1.1, 41), tasks, causes, recipes
    )


# Lanes and the critical path


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([], []),
        ([(0, 1)], [0]),
        ([(0, 1), (1, 1)], [0, 0]),
        ([(0, 2), (1, 2), (2, 1)], [0, 1, 0]),
        ([(0, 5), (1, 1), (2, 1), (2, 1)], [0, 1, 1, 2]),
        ([(0, 0), (0, 0)], [0, 0]),
        ([(3, 1), (0, 4)], [1, 0]),
    ],
)
def test_lanes(times: list[tuple[float, float]], expected: list[int]) -> None:
    tasks = [card(f"a:{n}", seconds, began=began) for n, (began, seconds) in enumerate(times)]
    assert (
        list(map(lanes([*tasks, card("up:to-date")]).get, (task.key for task in tasks))) == expected
    )


def test_each_worker_has_lanes_of_its_own() -> None:
    tasks = [card(f"a:{n}", 2, began=n) for n in range(4)]
    placed = [replace(task, place=place) for task, place in zip(tasks, "wvw ", strict=True)]
    placed[3] = replace(placed[3], place="")
    assert lanes(placed) == {"a:3": 0, "a:1": 1, "a:0": 2, "a:2": 2}


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 10)), max_size=40))
def test_lanes_never_overlap_and_are_as_many_as_ran_at_once(times: list[tuple[int, int]]) -> None:
    tasks = [card(f"a:{n}", seconds, began=began) for n, (began, seconds) in enumerate(times)]
    found = lanes(tasks)
    used = [
        (found[f"a:{n}"], moment)
        for n, (began, long) in enumerate(times)
        for moment in range(began, began + long)
    ]
    assert len(used) == len(set(used))
    at_once = [sum(began <= moment < began + long for began, long in times) for moment in range(31)]
    assert len(set(found.values())) == max(at_once)


@pytest.mark.parametrize(
    ("tasks", "keys", "seconds"),
    [
        ([], (), 0.0),
        ([card("a:1")], (), 0.0),
        ([card("a:1", 2)], ("a:1",), 2.0),
        ([card("a:1", 2), card("a:2", 3, ("a:1",)), card("b:1", 4)], ("a:1", "a:2"), 5.0),
        ([card("a:2", 3, ("a:1", "b:1")), card("a:1", 2), card("b:1", 4)], ("b:1", "a:2"), 7.0),
        ([card("a:1", 9), card("a:2", None, ("a:1",)), card("a:3", 1, ("a:2",))], ("a:1",), 9.0),
        ([card("a:1", 1, ("gone:1",)), card("a:2", 1, ("a:1", "a:2"))], ("a:1", "a:2"), 2.0),
        (
            [replace(card("a:1", 5), what="restored"), replace(card("a:2", 1), what="failed")],
            ("a:2",),
            1.0,
        ),
    ],
)
def test_critical_path(tasks: list[TaskCard], keys: tuple[str, ...], seconds: float) -> None:
    found = critical_path(tasks)
    assert (found.keys, found.seconds) == (keys, seconds)


def test_the_critical_path_of_a_long_chain_is_found_without_recursion() -> None:
    tasks = [card(f"a:{n}", 1.0, (f"a:{n - 1}",)) for n in range(5000)]
    assert critical_path(tasks).seconds == 5000.0


# Injection


def hostile(text: str) -> Report:
    """Return a report with a text in every field."""
    changed = ChangedInput(text, text, text)
    build = BuildHead(text, 0.0, text, 1.0, text, text, (text,), {text: 1, "ran": 1})
    task = TaskCard(
        key=TaskKey(text),
        what=text,
        began=0.0,
        seconds=1.0,
        added=1,
        task_hash=text,
        output=text,
        tag=text,
        edges=(f"a:{text}", text),
        root=True,
        inputs=(changed,),
        inputs_all=((text, text),),
        changes=(text,),
        log=text,
        problem=text,
    )
    tasks = (task, replace(task, key=TaskKey(f"a:{text}"), what="failed", edges=(text,)))
    cause = CauseCard(text, text, text, (text, "no:task"), 1)
    return Report(
        build,
        build,
        tasks,
        (cause,),
        (RecipeRow(text, text, 1.0, 1, 1), RecipeRow("", "", 0.0, 0, 0)),
    )


class Outline(HTMLParser):
    """The elements of a page, and the texts in its JSON."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, tuple[str, ...]]] = []
        self.texts: list[str] = []
        self.in_json = False
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, tuple(name for name, _ in attrs)))
        self.in_json = tag == "script" and ("type", "application/json") in attrs
        if self.in_json:
            self.texts.append("")

    def handle_data(self, data: str) -> None:
        if self.in_json:
            self.texts[-1] += data

    def handle_endtag(self, tag: str) -> None:
        self.in_json = False


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_add_no_element_and_no_attribute(text: str) -> None:
    page = Outline(render(hostile(text)))
    assert page.elements == Outline(render(hostile("harmless"))).elements
    values = [json.loads(found) for found in page.texts]
    assert values[0]["tasks"][0]["key"] == text
    assert values[1]["log"] == text
    render(hostile(text)).encode()  # encoded as in a file


def test_the_policy_lets_only_the_pages_own_script_run() -> None:
    page = render(made(6))
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy
    rules = dict(rule.split(" ", 1) for rule in policy[1].split("; "))
    assert rules["default-src"] == "'none'"
    assert len(rules["script-src"].split()) == 1
    assert "unsafe" not in policy[1]
    assert "http" not in re.sub(r'xmlns="[^"]+"|http-equiv', "", page)


def luminance(colour: str) -> float:
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours as defined by WCAG 2."""
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
def test_texts_have_contrast(mode: int) -> None:
    block = asset("report.css").split("prefers-color-scheme: dark")[mode]
    own = dict(re.findall(r"--([\w-]+): (#\w{6})", block))
    colours = {name: pair[mode] for name, pair in (*BASE.items(), *PALETTE.items())} | own
    on_paper = [(text, "paper") for text in ("ink", "quiet", *PALETTE)]
    on_tint = [(text, "tint") for text in ("ink", "quiet", *PALETTE)]
    pairs = [*on_paper, *on_tint, ("ink", "rule"), ("added", "added-paper"), ("gone", "gone-paper")]
    low = {pair: contrast(colours[pair[0]], colours[pair[1]]) for pair in pairs}
    assert {pair: ratio for pair, ratio in low.items() if ratio < 4.5} == {}


# In Chromium

LOG = "".join(f"gcc -O2 -c source-{n:04}.c -o source-{n:04}.o\n" for n in range(450))
"""About 20 kB."""


class Browser:
    """A page in headless Chromium, and queries of it."""

    def __init__(self, chrome: Chrome, folder: Path) -> None:
        self.chrome = chrome
        self.folder = folder

    def open(self, report: Report, route: str = "") -> None:
        page = self.folder / "report.html"
        page.write_text(render(report), "utf-8")
        self.chrome.get("about:blank")  # otherwise only the fragment would change
        self.window()
        for kind in ("browser", "performance"):
            self.chrome.get_log(kind)  # type: ignore[no-untyped-call]
        self.chrome.get(f"{page.as_uri()}{route}")

    def window(self, width: int = 1280, *, dark: bool = False) -> None:
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})

    def run(self, script: str) -> Any:
        return self.chrome.execute_script(f"return {script}")

    def press(self, *keys: str) -> None:
        from selenium.webdriver import ActionChains

        for key in keys:
            ActionChains(self.chrome).send_keys(key).perform()

    def focused(self) -> WebElement:
        return self.chrome.switch_to.active_element

    def until(self, holds: Callable[[], bool]) -> None:
        ends = time.monotonic() + 10
        while not holds():
            assert time.monotonic() < ends, "it did not come to hold in 10 s"
            time.sleep(0.02)

    def heading(self) -> str:
        return str(
            self.run(
                "[...document.querySelectorAll('h1')].find((h) =>"
                " h.getClientRects().length).textContent"
            )
        )

    def complaints(self) -> list[str]:
        return [entry["message"] for entry in self.chrome.get_log("browser")]  # type: ignore[no-untyped-call]

    def requests(self) -> list[str]:
        """Return the requests since the page was opened, except those of the page itself."""
        log = self.chrome.get_log("performance")  # type: ignore[no-untyped-call]
        events = [json.loads(entry["message"])["message"] for entry in log]
        sent = [
            event["params"]["request"]["url"]
            for event in events
            if event["method"] == "Network.requestWillBeSent"
        ]
        own = (self.folder / "report.html").as_uri()
        return [address for address in sent if not address.startswith((own, "data:", "about:"))]


@pytest.fixture
def browser(chrome: Chrome, tmp_path: Path) -> Iterator[Browser]:
    browser = Browser(chrome, tmp_path)
    yield browser
    assert browser.complaints() == []
    assert browser.requests() == []


def test_a_page_of_a_thousand_tasks_opens_at_once(browser: Browser) -> None:
    report = made(1000, LOG)
    began = time.perf_counter()
    render(report)
    rendered = time.perf_counter()
    browser.open(report)
    size = (browser.folder / "report.html").stat().st_size
    loaded = browser.run("performance.getEntriesByType('navigation')[0].loadEventEnd")
    painted = browser.run(
        "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? -1"
    )
    print(
        f"1,000 tasks, {size / 1e6:.0f} MB: rendered in {(rendered - began) * 1000:.0f} ms, "
        f"first painted after {painted:.0f} ms, loaded after {loaded:.0f} ms"
    )
    assert loaded < 20_000
    assert browser.run("document.querySelectorAll('#tasks tbody tr').length") == 1000
    assert browser.run("document.querySelectorAll('.prov-graph .task').length") == 1000
    assert browser.run("document.getElementById('log')") is None  # parsed only on its own page


def test_a_tasks_page_shows_its_log_inputs_and_changes(browser: Browser) -> None:
    report = made(42, LOG + "\x1b[31mred\x1b[0m end\n")
    browser.open(report, "#task/openssl:configure")
    assert browser.heading() == "openssl:configure"
    assert browser.run("document.getElementById('log').textContent") == f"{LOG}red end\n"
    text = browser.run("document.body.innerText")
    for expected in (
        "+CFLAGS = -O2 -g",
        "A usr/bin/hello",
        "root cause",
        "openssl:unpack",
        "variables/CFLAGS",
    ):
        assert expected in text
    browser.run("document.querySelector('#task-page details').open = true")
    browser.until(
        lambda: "make -j4" in browser.run("document.querySelector('#task-page details').innerText")
    )


def test_the_keyboard_alone_is_enough(browser: Browser) -> None:
    from selenium.webdriver import Keys

    browser.open(made(42, LOG))
    browser.press("/")
    assert browser.focused().get_attribute("id") == "filter"
    browser.press("curl")
    assert browser.run("document.getElementById('shown').textContent") == "6 of 42 tasks"
    browser.press(Keys.ARROW_DOWN, Keys.ARROW_DOWN)
    assert browser.focused().text == "curl:unpack"
    assert browser.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    browser.press(Keys.ENTER)
    browser.until(lambda: browser.heading() == "curl:unpack")
    browser.press(Keys.ARROW_RIGHT)
    browser.until(lambda: browser.heading() == "curl:configure")
    browser.press(Keys.ARROW_LEFT)
    browser.until(lambda: browser.heading() == "curl:unpack")
    browser.press(Keys.ESCAPE)
    browser.until(lambda: browser.heading() == "Build 42: failed")
    assert browser.focused().text == "curl:unpack"
    browser.press("/", Keys.ESCAPE)
    assert browser.run("document.getElementById('shown').textContent") == "42 tasks"


def test_each_group_of_tasks_is_one_stop_of_the_tab_key(browser: Browser) -> None:
    from selenium.webdriver import Keys

    browser.open(made(1000))
    stops: list[str] = []
    while len(stops) < 100:
        browser.press(Keys.TAB)
        at = browser.run(
            "document.activeElement === document.body ? '' : "
            "document.activeElement.closest('section, header, nav, a.skip')?.id || 'others'"
        )
        if not at or (stops and browser.run("document.activeElement.className === 'skip'")):
            break
        stops.append(at)
    assert {"build", "failures", "changed", "timeline", "graph", "recipes", "tasks"} <= set(stops)
    assert len(stops) < 80
    browser.run("document.querySelector('.prov-graph .task[tabindex=\"0\"]').focus()")
    start = browser.run("document.activeElement.dataset.task")
    browser.press(Keys.ARROW_RIGHT)
    assert browser.run("document.activeElement.dataset.task") != start
    assert browser.run("document.querySelectorAll('.edge.near').length") > 0
    browser.press(Keys.ARROW_LEFT)
    assert browser.run("document.activeElement.dataset.task") == start
    browser.run("document.querySelector('.blocks a').focus()")
    browser.press(Keys.ARROW_RIGHT)
    assert (
        browser.run("[...document.querySelectorAll('.blocks a')].indexOf(document.activeElement)")
        > 0
    )


@pytest.mark.parametrize("route", ["", "#task/openssl:configure"])
def test_a_phone_does_not_scroll_sideways(browser: Browser, route: str) -> None:
    report = made(42, LOG + "x" * 3000)
    long = replace(
        report.tasks[8],
        key=TaskKey("a-very-long-recipe-name-native" * 4 + ":" + "compile" * 20),
        what="ran",
    )
    report = replace(report, tasks=(*report.tasks, long))
    browser.open(report, route)
    browser.window(375)
    assert browser.run("document.documentElement.scrollWidth") == 375
    assert browser.run("innerWidth") == 375


def test_dark_mode_is_dark(browser: Browser) -> None:
    browser.open(made(42))
    colours = {}
    for dark in (False, True):
        browser.window(dark=dark)
        picture = "getComputedStyle(document.querySelector('.prov-graph')).backgroundColor"
        body = "getComputedStyle(document.body).backgroundColor"
        colours[dark] = [
            sum(map(int, re.findall(r"\d+", browser.run(where))[:3])) for where in (body, picture)
        ]
    assert min(colours[False]) > 700
    assert max(colours[True]) < 100


def test_nothing_moves(browser: Browser) -> None:
    browser.open(made(12))
    assert browser.run("document.getAnimations().length") == 0
    style = "getComputedStyle(document.documentElement)"
    assert browser.run(f"{style}.scrollBehavior") == "auto"


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_do_nothing(browser: Browser, text: str) -> None:
    browser.open(hostile(text))
    assert browser.run("document.querySelectorAll('#tasks tbody tr').length") == 2
    browser.run("document.querySelector('#tasks td a').click()")
    browser.until(lambda: not browser.run("document.getElementById('task-page').hidden"))
    browser.run(
        "document.querySelectorAll('#task-page details').forEach((part) => { part.open = true; })"
    )
    browser.until(
        lambda: browser.run("document.querySelector('#task-page details pre')") is not None
    )
    assert browser.run("window.broken") is None
    assert browser.run("document.querySelectorAll('img, [onerror], [onfocus]').length") == 0
    if "\udcff" not in text:  # WebDriver cannot return a lone surrogate
        assert browser.run("document.querySelector('#task-page h1').textContent") == text


def test_the_first_build_has_no_previous_build(browser: Browser) -> None:
    empty = BuildHead("1", 0.0, "done", 0.0, "image", "", (), {})
    browser.open(Report(empty, None, (), (), ()))
    assert browser.heading() == "Build 1: done"
    assert "There is no previous build." in browser.run("document.body.innerText")
    assert browser.run("document.getElementById('timeline').hidden")


def test_tables_are_sorted_by_their_headers(browser: Browser) -> None:
    browser.open(made(42))
    first = "document.querySelector('#recipes tbody td').textContent"
    assert browser.run(first) == "busybox 1.2.13"
    browser.run("document.querySelector('#recipes th button').click()")
    assert browser.run(first) == "busybox 1.2.13"
    browser.run("document.querySelector('#recipes th button').click()")
    assert browser.run(first) == "zlib 1.2.13"
    assert (
        browser.run("document.querySelector('#recipes th').getAttribute('aria-sort')")
        == "descending"
    )
