"""Findings about host tools, from lists of reads alone."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from prov.dependencies.findings import RecordedReads
from prov.dependencies.idle_tools import find_idle_tools
from prov.reads.reads import COMPLETE, NOT_RECORDED, Read, Reads, incomplete
from prov.records.keys import TaskKey

COMPILE = TaskKey("hello:compile")
OVERFLOW = incomplete("overflow")


def run(
    rows: Mapping[str, str] | None = None,
    *,
    opens: str = COMPLETE,
    probes: str = COMPLETE,
    toolchain: str = COMPLETE,
    link: str = "/usr/bin/make",
    file: str = "/usr/bin/gmake",
) -> RecordedReads:
    """Return a run of a task that declares the tool make."""
    reads = [Read(path, kinds) for path, kinds in (rows or {}).items()]
    files = {"make": file} if file else {}
    listed = Reads.of(reads, opens, probes, toolchain)
    return RecordedReads(COMPILE, listed, tools={"make": link}, tool_files=files)


def watched(rows: Mapping[str, str] | None = None, **fields: str) -> RecordedReads:
    """Return a run that was watched, but not traced."""
    return run(rows, probes=NOT_RECORDED, **fields)


GMAKE = {"/usr/bin/gmake": "*o"}


@pytest.mark.parametrize(
    ("runs", "certainty"),
    [
        ([], None),
        ([run()], "traced"),
        ([run({"/usr/bin/sed": "x"})], "traced"),
        ([run({"/bin/make": "m"})], "traced"),
        # by any path
        ([run({"/build/hosttools/make": "x"})], None),
        ([run({"/usr/bin/gmake": "o"})], None),
        ([run({"/usr/lib/gmake": "o"}, link="/usr/lib/gmake", file="")], None),
        # a use in any run, also an incomplete one
        ([run(), run({"/usr/bin/make": "x"}, opens=OVERFLOW, probes=OVERFLOW)], None),
        # the use of a task that ran at the same time, or of this one
        ([run(), watched(GMAKE)], "candidate"),
        ([run(), watched(GMAKE, toolchain=OVERFLOW)], "candidate"),
        # without a trace
        ([watched()], "candidate"),
        ([watched(), watched(opens=OVERFLOW)], "candidate"),
        ([watched(GMAKE)], None),
        ([watched(), watched(GMAKE)], None),
        ([watched(file="")], None),
        ([watched(toolchain=NOT_RECORDED)], None),
        ([watched(toolchain=OVERFLOW)], None),
        ([watched(opens=OVERFLOW)], None),
        ([run(opens=OVERFLOW)], None),
        ([run(toolchain=OVERFLOW)], None),
        ([RecordedReads(COMPILE, None, tools={"make": "/usr/bin/make"})], None),
    ],
)
def test_idle_tools(runs: list[RecordedReads], certainty: str | None) -> None:
    idle = find_idle_tools({COMPILE: runs})
    assert [(own.task, own.tool) for own in idle] == [(COMPILE, "make")] * bool(certainty)
    assert [str(own.certainty) for own in idle] == [certainty] * bool(certainty)
    assert all(bool(own.reason) == (certainty == "candidate") for own in idle)


def test_the_number_of_traces_is_required() -> None:
    [idle] = find_idle_tools({COMPILE: [run(), watched()]}, minimum=2)
    assert idle.reason == "1 of 2 complete traces of hello:compile are recorded"
