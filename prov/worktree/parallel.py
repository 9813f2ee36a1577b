"""One list of work, two processes: Python's threads share a processor, and forked processes do
not.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar, cast

from prov.processes import decode_answer, start_child

SHARE_HERE = 0.54
"""The second process has its pack to finish and its answer to send."""
HANDED_OUT = 1024
"""So many pieces, with the number of each in four bytes, fit the smallest pipe that a user gets who
has many.
"""

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_two_processes(
    work: Sequence[Item],
    weight: Callable[[Item], int],
    *,
    here: Callable[[list[Item]], list[Result]],
    there: Callable[[list[Item]], list[Result]],
) -> list[Result]:
    """Return a result for each item, in order; `there` runs in a second process on not quite half
    of the weight.

    An expected failure of either is raised here; results must be picklable.
    """
    half, first, at = int(sum(map(weight, work)) * SHARE_HERE), 0, 0
    for at, item in enumerate(work):  # noqa: B007 (the place is what is looked for)
        first += weight(item)
        if first >= half:
            break
    mine, theirs = list(work[: at + 1]), list(work[at + 1 :])
    done, others = _both(lambda: here(mine), lambda: there(theirs), "reading files")
    return done + others


def by_turns(
    work: Sequence[Item], do: Callable[[Iterator[Item]], Result], what: str
) -> tuple[Result, Result]:
    """Return what `do` made of the work in this process and in a second one; who is free takes the
    next item.

    An expected failure of either is raised here, `what` being what they are at; results must be
    picklable.
    """
    pieces = min(len(work), HANDED_OUT)
    reader, writer = os.pipe()
    os.write(writer, b"".join(number.to_bytes(4) for number in range(pieces)))
    os.close(writer)

    def taken() -> Iterator[Item]:
        while number := os.read(reader, 4):
            yield from work[int.from_bytes(number) :: pieces]

    try:
        return _both(lambda: do(taken()), lambda: do(taken()), what)
    finally:
        os.close(reader)


def _both(
    here: Callable[[], Result], there: Callable[[], Result], what: str
) -> tuple[Result, Result]:
    child = start_child(there)
    try:
        with os.fdopen(child.answer, "rb") as answers:
            done = here()
            data = answers.read()
    except BaseException:
        child.kill(signal.SIGKILL)
        os.waitpid(child.pid, 0)
        raise
    status = os.waitpid(child.pid, 0)[1]
    return done, cast(Result, decode_answer(data, status, what))
