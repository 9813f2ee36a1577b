from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prov.errors import StoreError
from prov.reads.reads import COMPLETE, KINDS, NOT_RECORDED, Read, Reads, decode_reads, incomplete

TEXTS = st.text(st.characters(exclude_categories=[]), max_size=12)
KIND_SETS = st.sets(st.sampled_from(sorted(KINDS)), min_size=1).map(
    lambda own: "".join(sorted(own))
)
ROWS = st.builds(Read, TEXTS, KIND_SETS, TEXTS, st.lists(TEXTS, max_size=3).map(tuple))
STATES = st.sampled_from([COMPLETE, NOT_RECORDED, incomplete("too many watches")])


@given(st.lists(ROWS, max_size=6), STATES, STATES, STATES)
def test_a_list_is_read_as_it_was_written(
    rows: list[Read], opens: str, probes: str, toolchain: str
) -> None:
    reads = Reads.of(rows, opens, probes, toolchain)
    assert decode_reads(reads.encode()) == reads
    assert [row.path for row in reads.rows] == sorted({row.path for row in rows})


def test_uses_of_one_path_are_one_row() -> None:
    rows = [Read("/a", "s", "", ("/bin/sh",)), Read("/a", "o", "x"), Read("/b", "m")]
    reads = Reads.of(rows, COMPLETE, COMPLETE)
    assert reads.rows == (Read("/a", "os", "x", ("/bin/sh",)), Read("/b", "m"))
    assert reads.encode() == (
        b"opens complete\nprobes complete\ntoolchain complete\n\nos\t/a\tx\t/bin/sh\nm\t/b\t\n"
    )
    assert reads.is_complete


FACTS = b"opens a\nprobes b\ntoolchain c\n\n"
INVALID = [
    *(b"", b"\n\n", b"opens complete\n\n"),
    *(FACTS + row for row in (b"q\t/a\t\n", b"o\n", b"o\t\\\t\n", b"o\t\xff\t\n", b"\t/a\t\n")),
]


@pytest.mark.parametrize("data", INVALID)
def test_an_invalid_list_is_refused(data: bytes) -> None:
    with pytest.raises(StoreError, match="invalid list of reads"):
        decode_reads(data)
