"""Tests of the calls of inotify."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from prov.reads.inotify import (
    EVENT,
    IN_CREATE,
    IN_IGNORED,
    IN_OPEN,
    add_watch,
    open_instance,
    queued,
    remove_watch,
    split_events,
    watch_problem,
)


@pytest.fixture
def instance() -> Iterator[int]:
    number = open_instance()
    yield number
    os.close(number)


def events(instance: int) -> list[tuple[int, bytes]]:
    """Return the kind and the name of each queued event."""
    found = [event for data in queued(instance) for event in split_events(data)]
    return [(EVENT.unpack_from(event)[1], event[EVENT.size :].rstrip(b"\0")) for event in found]


def test_events_are_read_in_order(instance: int, tmp_path: Path) -> None:
    number = add_watch(instance, os.fsencode(tmp_path), IN_OPEN | IN_CREATE)
    for name in ("one", "x" * 255):
        (tmp_path / name).touch()
    long = b"x" * 255
    assert events(instance) == [
        *((kind, b"one") for kind in (IN_CREATE, IN_OPEN)),
        *((kind, long) for kind in (IN_CREATE, IN_OPEN)),
    ]
    remove_watch(instance, number)
    assert events(instance) == [(IN_IGNORED, b"")]
    remove_watch(instance, number)
    assert events(instance) == []


def test_a_missing_folder(instance: int, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        add_watch(instance, os.fsencode(tmp_path / "none"), IN_OPEN)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (errno.ENOSPC, "more folders than fs.inotify.max_user_watches allows"),
        (errno.EMFILE, "more inotify instances than fs.inotify.max_user_instances allows"),
        (errno.EACCES, "cannot watch a folder: Permission denied"),
    ],
)
def test_reasons_for_missing_watches(number: int, text: str) -> None:
    assert watch_problem(OSError(number, os.strerror(number))) == text
