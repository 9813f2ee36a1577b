"""Share a list of work between two processes, since Python threads would share one processor."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar, cast

from prov.processes import decode_answer, start_child
from prov.progress import report

SHARE_HERE = 0.54
"""This process's share of the work: the other one must also finish its pack and send its result."""
HANDED_OUT = 1024
"""The maximum number of pieces: their four-byte numbers fit the kernel's smallest pipe."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_two_processes(
    work: Sequence[Item],
    weight: Callable[[Item], int],
    *,
    in_parent: Callable[[list[Item]], list[Result]],
    in_child: Callable[[list[Item]], list[Result]],
) -> list[Result]:
    """Return a result for each item, in order; `in_child` gets slightly less than half the weight.

    Raises the ProvError of either process. Results must be picklable.
    """
    half, first, at = int(sum(map(weight, work)) * SHARE_HERE), 0, 0
    for at, item in enumerate(work):  # noqa: B007 (used after the loop)
        first += weight(item)
        if first >= half:
            break
    mine, theirs = list(work[: at + 1]), list(work[at + 1 :])
    own_results, others = _both(lambda: in_parent(mine), lambda: in_child(theirs), "reading files")
    return own_results + others


def by_turns(
    work: Sequence[Item], do: Callable[[Iterator[Item]], Result], activity: str
) -> tuple[Result, Result]:
    """Return the results of `do` in this process and a second one; each fetches items when free.

    Raises the ProvError of either process, or one that names the `activity` if the second process
    dies. Results must be picklable.
    """
    pieces = min(len(work), HANDED_OUT)
    reader, writer = os.pipe()
    os.write(writer, b"".join(number.to_bytes(4) for number in range(pieces)))
    os.close(writer)

    def taken() -> Iterator[Item]:
        while data := os.read(reader, 4):
            number = int.from_bytes(data)
            report(activity, number, pieces)
            yield from work[number::pieces]

    try:
        return _both(lambda: do(taken()), lambda: do(taken()), activity)
    finally:
        os.close(reader)


def _both(
    in_parent: Callable[[], Result], in_child: Callable[[], Result], activity: str
) -> tuple[Result, Result]:
    child = start_child(in_child)
    try:
        with os.fdopen(child.answer, "rb") as answers:
            own_results = in_parent()
            data = answers.read()
    except BaseException:
        child.kill(signal.SIGKILL)
        os.waitpid(child.pid, 0)
        raise
    status = os.waitpid(child.pid, 0)[1]
    return own_results, cast(Result, decode_answer(data, status, activity))
