"""Tests that the names of entries, the format of records, never change."""

from __future__ import annotations

import pytest

from prov.records import entries
from prov.store.objects import escape_name

FORMAT = {
    "INPUTS": b"inputs",
    "OUTPUT": b"output",
    "WHOLE": b"whole",
    "ATTRIBUTES": b"attributes",
    "SYSROOT": b"sysroot",
    "LOG": b"log",
    "ENVIRONMENT": b"environment",
    "FACTS": b"record",
    "DEFINITION": b"definition",
    "READS": b"reads",
    "CHANGES": b"changes",
    "DATED": b"dated",
    "SCRIPT": b"script",
    "SYSROOT_OF": b"sysroot-of",
    "CONTENT": b"content",
    "POSTPROCESS": b"postprocess",
    "FIXED": b"fixed",
}
"""A copy of all names, so that this test fails if one changes."""


@pytest.mark.parametrize("constant", FORMAT)
def test_names_are_those_of_recorded_stores(constant: str) -> None:
    assert getattr(entries, constant) == FORMAT[constant]


def test_no_name_is_missing() -> None:
    constants = {name for name, value in vars(entries).items() if isinstance(value, bytes)}
    assert constants == set(FORMAT)


def test_names_differ() -> None:
    assert len(set(FORMAT.values())) == len(FORMAT)


@pytest.mark.parametrize("name", [*FORMAT.values(), *(kind.encode() for kind in entries.EDGES)])
def test_no_name_needs_an_escape(name: bytes) -> None:
    assert escape_name(name) == name


def test_kinds_of_edges() -> None:
    assert entries.EDGES == ("after", "from", "needs")
    assert not {kind.encode() for kind in entries.EDGES} & set(FORMAT.values())


def test_paths_of_sysroots_begin_with_their_entry() -> None:
    for path in (entries.SYSROOT_TARGET, entries.SYSROOT_NATIVE):
        folder, _, name = path.partition("/")
        assert folder.encode() == entries.SYSROOT
        assert name in ("target", "native")
