"""Tests of the key of a command's results. `test_cached.py` tests the search."""

from __future__ import annotations

import os

import pytest

from prov.reads.reads import Read, Reads
from prov.wrapped.results import CachedCommand, paths_of

ENVIRONMENT = {"PATH": "/bin", "LANG": "C"}
COMMAND = CachedCommand.of(["sh", "-c", "true"], ENVIRONMENT)
READS = Reads(
    (Read("a", "o", "file 644 1", ("/bin/sh",)), Read("b", "m", "missing")), probes="complete"
)


@pytest.mark.parametrize(
    ("words", "environment"),
    [
        (["sh", "-c true"], ENVIRONMENT),
        (["sh", "-c", "true"], {"PATH": "/bin"}),
        (["sh", "-c", "true"], {"PATH": "/bin", "LANG": "C.UTF-8"}),
    ],
)
def test_different_commands_have_different_ids(
    words: list[str], environment: dict[str, str]
) -> None:
    assert CachedCommand.of(words, environment).id != COMMAND.id


def test_variables_that_are_not_recorded_do_not_count() -> None:
    more = {"HOME": "/root", "MAKEFLAGS": "-j2 --jobserver-auth=fifo:/tmp/x"}
    assert CachedCommand.of(["sh", "-c", "true"], ENVIRONMENT | more) == COMMAND


def test_the_umask_counts() -> None:
    umask = os.umask(0o027)
    try:
        other = CachedCommand.of(["sh", "-c", "true"], ENVIRONMENT)
    finally:
        os.umask(umask)
    assert other.id != COMMAND.id
    assert other.process.startswith("umask 027\n")


def test_inputs_are_states_without_programs() -> None:
    text = COMMAND.inputs(READS)
    assert "o\ta\tfile 644 1\nm\tb\tmissing\n" in text
    assert COMMAND.inputs(READS, "1234") != text
    assert paths_of(READS) == (("o", "a"), ("m", "b"))
