"""Share a list of work between two processes, since Python threads would share one processor."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar, cast

from prov.processes import decode_answer, start_child
from prov.progress import report

HANDED_OUT = 1024
"""The maximum number of pieces: their four-byte numbers fit the kernel's smallest pipe."""

Item = TypeVar("Item")
Result = TypeVar("Result")
Other = TypeVar("Other")


def by_turns(
    work: Sequence[Item], do: Callable[[Iterator[Item]], Result], activity: str
) -> tuple[Result, Result]:
    """Return the results of `do` in this process and a second one; each fetches items when free.

    Raises the ProvError of either process, or one that names the `activity` if the second process
    dies. Results must be picklable.
    """
    pieces = min(len(work), HANDED_OUT)

    def taken(tokens: Iterator[int]) -> Iterator[Item]:
        for number in tokens:
            yield from work[number::pieces]

    with _tokens(pieces, activity) as tokens:
        return in_two_processes(lambda: do(taken(tokens)), lambda: do(taken(tokens)), activity)


def from_both_ends(
    work: Sequence[Item],
    activity: str,
    *,
    in_parent: Callable[[Iterator[Item]], Result],
    in_child: Callable[[Iterator[Item]], Other],
) -> tuple[Result, Other]:
    """Return the results of two functions that share a sequence of work as they become free.

    This process fetches items from the front, and the second one from the back, so that each gets
    one part of the sequence. Raises as `by_turns` does. The second result must be picklable.
    """
    pieces = min(len(work), HANDED_OUT)

    def piece(number: int) -> Sequence[Item]:
        return work[number * len(work) // pieces : (number + 1) * len(work) // pieces]

    # each piece has one token, so the two processes never fetch the same piece
    def front(tokens: Iterator[int]) -> Iterator[Item]:
        for number, _ in enumerate(tokens):
            yield from piece(number)

    def back(tokens: Iterator[int]) -> Iterator[Item]:
        for number, _ in enumerate(tokens, 1):
            yield from reversed(piece(pieces - number))

    with _tokens(pieces, activity) as tokens:
        return in_two_processes(
            lambda: in_parent(front(tokens)), lambda: in_child(back(tokens)), activity
        )


@contextlib.contextmanager
def _tokens(count: int, activity: str) -> Iterator[Iterator[int]]:
    """Yield the numbers below `count`, each of which one of two processes gets when free."""
    reader, writer = os.pipe()
    os.write(writer, b"".join(number.to_bytes(4) for number in range(count)))
    os.close(writer)

    def taken() -> Iterator[int]:
        while data := os.read(reader, 4):
            number = int.from_bytes(data)
            report(activity, number, count)
            yield number

    try:
        yield taken()
    finally:
        os.close(reader)


def in_two_processes(
    in_parent: Callable[[], Result], in_child: Callable[[], Other], activity: str
) -> tuple[Result, Other]:
    """Return the results of two functions that run at the same time, the second one in a child.

    Raises the ProvError of either, or one that names the `activity` if the child dies.
    """
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
    return own_results, cast(Other, decode_answer(data, status, activity))
