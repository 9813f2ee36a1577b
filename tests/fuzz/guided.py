"""Fuzz a parser for a limited time, guided by coverage.

An input that makes the parser run a new line of prov is kept and mutated again.
"""

from __future__ import annotations

import contextlib
import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from hypothesis import given, settings

from tests.fuzz.mutation import mutated, pumped
from tests.fuzz.parser import LawBroken, Parser, attack

SEEDS = 100
LARGE_EVERY = 200
"""One of this many inputs is large."""
MOST = 1 << 14
"""Maximum size in bytes of an input to mutate again."""

Place = tuple[str, int, int]


def examples(parser: Parser, count: int) -> list[bytes]:
    """Return valid input of many kinds."""
    found: list[bytes] = []

    @settings(max_examples=count)
    @given(parser.values)
    def collect(value: Any) -> None:
        found.append(parser.encode(value))

    collect()
    return list(dict.fromkeys(found))


@contextmanager
def lines_run(places: set[Place]) -> Iterator[None]:
    """Add each executed step between two lines of prov's code to `places`."""
    last = 0

    def inside(frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal last
        if event == "line":
            places.add((frame.f_code.co_filename, last, frame.f_lineno))
            last = frame.f_lineno
        return inside

    def call(frame: FrameType, _event: str, _argument: object) -> Any:
        return inside if "/prov/" in frame.f_code.co_filename else None

    sys.settrace(call)
    try:
        yield
    finally:
        sys.settrace(None)


def fuzz(parser: Parser, seconds: float, seed: int) -> tuple[int, int]:
    """Attack a parser for some time; return the numbers of inputs and of executed steps.

    Raises LawBroken with the shortest input found.
    """
    rng = random.Random(seed)
    corpus = examples(parser, SEEDS) or [b""]
    places: set[Place] = set()
    until, count = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        count += 1
        data = _input(corpus, count, rng)
        try:
            attack(parser, data)
        except LawBroken as error:
            raise shortened(parser, data, error) from error
        if len(data) > MOST:
            continue
        seen: set[Place] = set()
        # in a separate run, since tracing would exceed the time limit
        with lines_run(seen), contextlib.suppress(Exception):
            parser.parse(data)
        if not seen <= places:
            places |= seen
            corpus.append(data)
    return count, len(places)


def _input(corpus: list[bytes], count: int, rng: random.Random) -> bytes:
    if count <= len(corpus):
        return corpus[count - 1]
    if count % LARGE_EVERY == 0:
        return pumped(rng.choice(corpus), rng)
    if count % 50 == 0:
        return rng.randbytes(rng.randrange(100))
    return mutated(rng.choice(corpus), rng.choice(corpus), rng)


def shortened(parser: Parser, data: bytes, error: LawBroken) -> LawBroken:
    """Return the same failure for a shorter input, by cutting pieces out for up to ten seconds."""
    until, size = time.monotonic() + 10.0, len(data) // 2
    while size and time.monotonic() < until:
        at = 0
        while at < len(data) and time.monotonic() < until:
            shorter = data[:at] + data[at + size :]
            try:
                attack(parser, shorter)
                at += size
            except LawBroken as other:
                if type(other.__cause__) is type(error.__cause__):
                    data, error = shorter, other
                else:
                    at += size
        size //= 2
    return error
