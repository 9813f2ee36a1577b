"""Attack every parser of untrusted input, briefly in every run and longer by `make fuzz`."""

from __future__ import annotations

import os
import random
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests import fuzz as fuzzers
from tests.fuzz import build, history, others, reads, remote, store, worktree
from tests.fuzz.found import FOUND
from tests.fuzz.guided import fuzz
from tests.fuzz.mutation import mutated, pumped
from tests.fuzz.parser import Parser, attack, watched

PARSERS: list[Parser] = [
    *(*store.PARSERS, *worktree.PARSERS, *remote.PARSERS),
    *(*build.PARSERS, *history.PARSERS, *others.PARSERS, *reads.PARSERS),
]
EXAMPLES, SLOW_EXAMPLES = 20, 6
MUTATIONS = 8
"""The size of each example."""
FUZZ_SECONDS = float(os.environ.get("FUZZ_SECONDS", "1800"))
FUZZ_SEED = int(os.environ.get("FUZZ_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
BY_NAME = {parser.name: parser for parser in PARSERS}
PHASES = (Phase.generate, Phase.shrink)
each_parser = pytest.mark.parametrize("parser", PARSERS, ids=str)


@each_parser
def test_a_parser_returns_a_value_or_raises_its_error(parser: Parser) -> None:
    count = SLOW_EXAMPLES if parser.slow else EXAMPLES

    @settings(max_examples=count, derandomize=True, phases=PHASES)
    @given(parser.values, parser.values, st.binary(max_size=40), st.integers(0, 1 << 16))
    def check(value: Any, other: Any, noise: bytes, number: int) -> None:
        data, more, rng = parser.encode(value), parser.encode(other), random.Random(number)
        read = attack(parser, data)
        assert not (parser.valid and isinstance(read, Exception)), (
            f"{parser} refuses what is valid: {data!r}"
        )
        assert not parser.inverse or read == value
        attack(parser, noise)
        for _ in range(MUTATIONS):
            attack(parser, mutated(data, more, rng))

    with watched(120):
        check()


@each_parser
def test_large_input_needs_linear_time_and_little_memory(parser: Parser) -> None:
    @settings(max_examples=2 if parser.slow else 5, derandomize=True, phases=PHASES)
    @given(parser.values, st.integers(0, 1 << 16))
    def check(value: Any, number: int) -> None:
        attack(parser, pumped(parser.encode(value), random.Random(number)))

    with watched(120):
        check()


@pytest.mark.parametrize(
    ("name", "data"), FOUND, ids=[f"{name}-{at}" for at, (name, _) in enumerate(FOUND)]
)
def test_earlier_findings(name: str, data: bytes) -> None:
    with watched(60):
        attack(BY_NAME[name], data)


@pytest.mark.fuzz
@each_parser
def test_for_long(parser: Parser) -> None:
    with watched(600 + FUZZ_SECONDS):
        count, places = fuzz(parser, FUZZ_SECONDS / len(PARSERS), FUZZ_SEED + PARSERS.index(parser))
    print(f"\n{parser}: {count} inputs, {places} steps of code (FUZZ_SEED={FUZZ_SEED})", end="")


def test_the_list_of_parsers_is_complete() -> None:
    listed = dict(
        line.rsplit(None, 1)
        for line in (fuzzers.__doc__ or "").splitlines()
        if line.startswith("    ")
    )
    errors = {parser.name: parser.raises.__name__ if parser.raises else "-" for parser in PARSERS}
    assert {name.strip(): error for name, error in listed.items()} == errors
