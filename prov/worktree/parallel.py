"""One list of work, two processes: packing is bound by the processor, and Python's threads share one."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from typing import TypeVar, cast

from prov.processes import decode_answer, start_child

SHARE_HERE = 0.54
"""The second process has its pack to finish and its answer to send."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_two_processes(
    work: Sequence[Item],
    weight: Callable[[Item], int],
    *,
    here: Callable[[list[Item]], list[Result]],
    there: Callable[[list[Item]], list[Result]],
) -> list[Result]:
    """Return a result for each item, in order; `there` runs in a second process on not quite half of the weight.

    An expected failure of either is raised here; results must be picklable.
    """
    half, first, at = int(sum(map(weight, work)) * SHARE_HERE), 0, 0
    for at, item in enumerate(work):  # noqa: B007 (the place is what is looked for)
        first += weight(item)
        if first >= half:
            break
    mine, theirs = list(work[: at + 1]), list(work[at + 1 :])
    child = start_child(lambda: there(theirs))
    try:
        with os.fdopen(child.answer, "rb") as answers:
            done = here(mine)
            data = answers.read()
    except BaseException:
        child.kill(signal.SIGKILL)
        os.waitpid(child.pid, 0)
        raise
    status = os.waitpid(child.pid, 0)[1]
    return done + cast(list[Result], decode_answer(data, status, "reading files"))
