"""A pytest plugin, `-p tests.quick`, that skips tests that start processes and limits examples.

A test is skipped at the point where it starts a process. Modules with `pytestmark =
pytest.mark.process`, whose tests all start processes, are not imported, only to save time.
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
"""The maximum number of examples of a property test."""
STARTS = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system"}
"""The audit events of Python's functions that start processes."""
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
    """Skip a test or fixture set-up that starts a process; fixture clean-up can start processes."""
    global armed
    armed = True
    try:
        yield
    finally:
        armed = False


examples_of = vars(settings)["max_examples"].fget


def few_examples(chosen: settings) -> int:
    return min(EXAMPLES, int(examples_of(chosen)))


# settings rejects a plain assignment
type.__setattr__(settings, "max_examples", property(few_examples))
