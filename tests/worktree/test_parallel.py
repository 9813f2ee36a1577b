from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prov.errors import CheckoutError, ProvError
from prov.worktree.parallel import HANDED_OUT, by_turns, from_both_ends

HERE = os.getpid()


pytestmark = [pytest.mark.process, pytest.mark.usefixtures("nothing_is_left")]


def taken(items: Iterator[int]) -> tuple[int, list[int]]:
    return os.getpid(), list(items)


@settings(max_examples=15)
@given(count=st.integers(0, 300))
def test_all_is_done_once_by_one_or_the_other(count: int) -> None:
    (here, mine), (there, theirs) = by_turns(range(count), taken, "counting")
    assert (here == os.getpid(), there == os.getpid()) == (True, False)
    assert sorted(mine + theirs) == list(range(count))


@pytest.mark.parametrize("count", [HANDED_OUT - 1, HANDED_OUT, HANDED_OUT + 1, 3 * HANDED_OUT + 7])
def test_more_work_than_a_pipe_holds(count: int) -> None:
    (_, mine), (_, theirs) = by_turns(range(count), taken, "counting")
    assert sorted(mine + theirs) == list(range(count))


def test_a_free_process_fetches_the_next_item(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()

    def waiting(items: Iterator[int]) -> list[int]:
        if os.getpid() != HERE:
            os.read(reader, 1)  # until this process has done the remaining work
            return list(items)
        done = list(items)
        os.write(writer, b"x")
        return done

    assert by_turns(range(50), waiting, "counting") == (list(range(50)), [])
    os.close(reader)
    os.close(writer)


def fail(items: Iterator[int], *, here: bool, error: BaseException) -> list[int]:
    if (os.getpid() == HERE) == here:
        raise error
    return list(items)


ERRORS: dict[str, BaseException] = {
    "expected": CheckoutError("no room", hint="make some"),
    "of the system": FileExistsError(17, "File exists", "name"),
    "a bug": RecursionError("too deep"),
}


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("here", [True, False], ids=["here", "there"])
def test_an_error_of_either_is_raised_here(error: str, here: bool) -> None:
    wanted = ERRORS[error]
    with pytest.raises(type(wanted)) as raised:
        by_turns(range(50), lambda items: fail(items, here=here, error=wanted), "placing files")
    assert str(raised.value) == str(wanted)
    assert getattr(raised.value, "hint", "") == getattr(wanted, "hint", "")


def test_an_interrupt_here_ends_both() -> None:
    with pytest.raises(KeyboardInterrupt):
        by_turns(
            range(50),
            lambda items: fail(items, here=True, error=KeyboardInterrupt()),
            "placing files",
        )


def die(items: Iterator[int], how: Callable[[], object]) -> list[int]:
    if os.getpid() != HERE:
        how()
    return list(items)


DEATHS: dict[str, tuple[Callable[[], object], str]] = {
    "killed": (lambda: os.kill(os.getpid(), signal.SIGKILL), "was killed by SIGKILL"),
    "gone": (lambda: os._exit(3), "exited with status 3"),
}


@pytest.mark.parametrize("how", DEATHS)
def test_a_second_process_that_dies_is_reported(how: str) -> None:
    end, said = DEATHS[how]
    with pytest.raises(ProvError, match=f"the process for placing files {said}"):
        by_turns(range(50), lambda items: die(items, end), "placing files")


def test_an_unpicklable_answer_is_reported() -> None:
    def unsendable(items: Iterator[int]) -> object:
        return list(items) if os.getpid() == HERE else (lambda: None)

    with pytest.raises(ProvError, match="the process for counting exited with status 1"):
        by_turns(range(5), unsendable, "counting")


@settings(max_examples=15)
@given(count=st.integers(0, 300))
def test_each_process_gets_one_end_of_the_work(count: int) -> None:
    here, there = from_both_ends(
        range(count), "counting", in_parent=list, in_child=lambda items: (os.getpid(), list(items))
    )
    pid, theirs = there
    assert pid != os.getpid()
    assert here + theirs[::-1] == list(range(count))


@pytest.mark.parametrize("count", [HANDED_OUT + 1, 3 * HANDED_OUT + 7])
def test_more_work_from_both_ends_than_a_pipe_holds(count: int) -> None:
    here, there = from_both_ends(range(count), "counting", in_parent=list, in_child=list)
    assert here + there[::-1] == list(range(count))


def test_a_busy_process_leaves_its_end_to_the_other() -> None:
    def none(_items: Iterator[int]) -> list[int]:
        return []

    work = range(50)
    assert from_both_ends(work, "counting", in_parent=list, in_child=none) == (list(work), [])
    theirs = list(reversed(work))
    assert from_both_ends(work, "counting", in_parent=none, in_child=list) == ([], theirs)
