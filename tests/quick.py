"""A plugin of pytest, `-p tests.quick`: skip each test where it starts a process, and shorten those
that try many examples.

Modules with `pytestmark = pytest.mark.process`, whose tests all start processes, are not even read.
That saves time and decides nothing: a test without the mark is skipped where it starts a process.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

EXAMPLES = 5
"""The most that a property is tried with."""
STARTS = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system"}
"""What Python's audit hooks call the ways to start a process."""
MARKED = re.compile(r"^pytestmark = (\[\s*)?pytest\.mark\.process\b", re.MULTILINE)

armed = False


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    if collection_path.match("test_*.py") and MARKED.search(collection_path.read_text()):
        return True
    return None


def skip_process(event: str, _arguments: tuple[Any, ...]) -> None:
    if armed and event in STARTS:
        pytest.skip(f"starts a process ({event}): `make test` runs it")


sys.addaudithook(skip_process)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None]:
    yield from arm()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None]:
    yield from arm()


def arm() -> Generator[None]:
    """Skip what starts a process meanwhile; fixtures may end as they like."""
    global armed
    armed = True
    try:
        yield
    finally:
        armed = False


examples_of = vars(settings)["max_examples"].fget


def few_examples(chosen: settings) -> int:
    return min(EXAMPLES, int(examples_of(chosen)))


type.__setattr__(
    settings, "max_examples", property(few_examples)
)  # settings refuses a plain assignment
