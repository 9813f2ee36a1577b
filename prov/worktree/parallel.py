"""One list of work, two processes: packing is bound by the processor, and Python's threads share one.

The second process is a fork, which needs no start-up and shares what is in memory; prov never runs threads, so
that forking is safe.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Sequence
from typing import TypeVar

from prov.errors import ProvError

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_two_processes(
    work: Sequence[Item],
    weight: Callable[[Item], int],
    *,
    here: Callable[[list[Item]], list[Result]],
    there: Callable[[list[Item]], list[Result]],
) -> list[Result]:
    """Return a result for each item, in order; `there` runs in a second process on about half of the weight.

    An expected failure of either is raised here; results must be picklable.
    """
    half, first, at = sum(map(weight, work)) // 2, 0, 0
    for at, item in enumerate(work):  # noqa: B007 (the place is what is looked for)
        first += weight(item)
        if first >= half:
            break
    mine, theirs = list(work[: at + 1]), list(work[at + 1 :])
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _run_child(theirs, there, reader, writer)
    os.close(writer)
    try:
        with os.fdopen(reader, "rb") as answers:
            done = here(mine)
            answer = answers.read()
    except BaseException:
        os.kill(child, 9)
        os.waitpid(child, 0)
        raise
    os.waitpid(child, 0)
    if not answer:
        raise ProvError("a second process for reading files ended without a word", hint="was memory short? try again")
    results = pickle.loads(answer)  # from our own fork
    if isinstance(results, BaseException):
        raise results
    return done + list(results)


def _run_child(work: list[Item], function: Callable[[list[Item]], list[Result]], reader: int, writer: int) -> None:
    """Run in the fork; never returns."""
    code = 1
    try:
        os.close(reader)
        answer: object
        try:
            answer = function(work)
        except BaseException as error:
            answer = error
        with os.fdopen(writer, "wb") as stream:
            pickle.dump(answer, stream, protocol=5)
        code = 0
    finally:
        os._exit(code)
