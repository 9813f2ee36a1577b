"""Find host tools that tasks declare and do not execute.

Only a trace shows which task used a tool. A list of opened files does not contain uses of `stat`,
and all tasks share the host tools, so an open in it can be that of a task that ran at the same
time: alone, such lists yield candidates.

This module is pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from prov.dependencies.findings import Certainty, RecordedReads, Runs, is_traced
from prov.reads.reads import COMPLETE
from prov.records.keys import TaskKey

MISSING, SHARED = "m", "*"


@dataclass(frozen=True, slots=True)
class IdleTool:
    """A host tool that a task declares and does not execute."""

    task: TaskKey
    tool: str
    certainty: Certainty
    """TRACED or CANDIDATE."""
    reason: str = ""
    """For a candidate, what is not known."""


def find_idle_tools(runs: Runs, *, minimum: int = 1) -> list[IdleTool]:
    """Return the host tools that tasks declare, and that no recorded run certainly used.

    `minimum` is the number of complete traces that each task needs.
    """
    return [
        idle
        for key, own in sorted(runs.items())
        for tool in (own[0].tools if own else ())
        for idle in _judged(key, tool, own, minimum)
    ]


def _judged(
    key: TaskKey, tool: str, runs: Sequence[RecordedReads], minimum: int
) -> Iterator[IdleTool]:
    """Yield the finding about a tool, if there is one."""
    uses = [kinds for run in runs for kinds in _uses(tool, run)]
    if any(SHARED not in kinds for kinds in uses):
        return
    traces = [run for run in runs if is_traced(run) and _has_toolchain(run)]
    if len(traces) >= minimum and not uses:
        yield IdleTool(key, tool, Certainty.TRACED)
    elif len(traces) >= minimum:
        reason = f"{key}, or a task that ran at the same time, opened it"
        yield IdleTool(key, tool, Certainty.CANDIDATE, reason)
    elif not uses and any(_lists_opens(tool, run) for run in runs):
        reason = f"{len(traces)} of {minimum} complete traces of {key} are recorded"
        yield IdleTool(key, tool, Certainty.CANDIDATE, reason)


def _uses(tool: str, run: RecordedReads) -> Iterator[str]:
    """Yield the kinds of each use of a tool, by any path that ends in its name."""
    paths = {run.tools.get(tool), run.tool_files.get(tool)}
    for row in run.reads.rows if run.reads is not None else ():
        if row.kinds != MISSING and (row.path in paths or row.path.rpartition("/")[2] == tool):
            yield row.kinds


def _lists_opens(tool: str, run: RecordedReads) -> bool:
    """Return whether the list of reads contains each open of a tool."""
    # without a trace, a file is listed by its path without links
    return not run.gap and _has_toolchain(run) and tool in run.tool_files


def _has_toolchain(run: RecordedReads) -> bool:
    """Return whether the list of reads covers the host tools."""
    return run.reads is not None and run.reads.toolchain == COMPLETE
