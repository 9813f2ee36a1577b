"""Encode, join and search the segments of a lookup table."""

from __future__ import annotations

from array import array
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prov.records.ids import TaskHash
from prov.remote.lookup.table import (
    Segment,
    SegmentBuilder,
    decode_segment,
    joined,
    make_lookup,
    named_ids,
    segments_to_join,
)
from prov.remote.publication import NO_KEY, Publication
from tests.remote.test_publication import TASK

IDS = st.binary(min_size=20, max_size=20) | st.sampled_from([bytes([each]) * 20 for each in (1, 2)])
NAMED = st.lists(st.lists(IDS, max_size=6), min_size=1, max_size=6)
"""For each publication, the ids that it names."""
CAP = 8 << 20


def segment(named: list[list[bytes]], first: int = 1) -> Segment:
    builder = SegmentBuilder()
    for number, oids in enumerate(named, first):
        builder.add(number, bytes([number]) * 20, None if number % 2 else b"s" * 20, oids)
    return builder.build()


def text_of(*lines: str) -> bytes:
    return "".join(f"{line}\n" for line in ("prov lookup 1", *lines, "")).encode()


LINE = f"00000001 {'aa' * 20} - 5"


@given(NAMED)
def test_an_encoded_segment_is_decoded(named: list[list[bytes]]) -> None:
    assert decode_segment(segment(named).encode()) == segment(named)


def test_the_text_of_a_segment() -> None:
    builder = SegmentBuilder()
    builder.add(7, b"t" * 20, None, [b"\xff" * 20, b"\x01" * 20])
    builder.add(8, b"t" * 20, b"s" * 20, [])
    rows = text_of(f"00000007 {'74' * 20} - 2", f"00000008 {'74' * 20} {'73' * 20} 0")
    entries = bytes.fromhex("0101010101000000 ffffffffff000000")
    assert builder.build().encode() == rows + entries


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"prov lookup 1\n",
        b"prov lookup 2\n\n",
        text_of(LINE)[:-1],
        text_of(LINE) + b"seven b",
        text_of(LINE, LINE),
        text_of(f"00000002 {'aa' * 20} - 5", LINE),
        text_of(LINE + " "),
        text_of(LINE.upper()),
        text_of(LINE.replace("-", "x" * 40)),
        text_of(LINE.replace(" 5", " -5")),
        text_of("1" + LINE[8:]),
    ],
)
def test_other_data_is_rejected(data: bytes) -> None:
    with pytest.raises(ValueError):
        decode_segment(data)


@given(NAMED, IDS)
def test_the_publications_of_an_id(named: list[list[bytes]], other: bytes) -> None:
    """Exactly those that name the id: ids of a test do not share their first five bytes."""
    built = segment(named)
    for oid in [other, *(oid for oids in named for oid in oids)]:
        numbers = [number for number, oids in enumerate(named, 1) if oid in oids]
        assert sorted({found.number for found in built.find(oid)}) == numbers
        assert [built.names(oid, place) for place in range(len(named))] == [
            number in numbers for number in range(1, len(named) + 1)
        ]


@given(st.lists(NAMED, min_size=1, max_size=4))
def test_joined_segments_are_as_one_built_at_once(parts: list[list[list[bytes]]]) -> None:
    segments, first = [], 1
    for part in parts:
        segments.append(segment(part, first))
        first += len(part)
    assert joined(segments) == segment([oids for part in parts for oids in part])


def test_entries_of_no_publication_are_ignored() -> None:
    false = replace(segment([[b"\x01" * 20]]), entries=array("Q", [0x0101010101000005, 2**64 - 1]))
    assert list(false.find(b"\x01" * 20)) == []
    assert joined([false, segment([[b"\x02" * 20]], 2)]).entries == array("Q", [0x0202020202000001])


def test_an_id_named_by_very_many_publications_is_read_from_some() -> None:
    entries = array("Q", [0x0101010101000000] * 100_000)
    assert len(replace(segment([[]]), entries=entries).find(b"\x01" * 20)) == 1000


@pytest.mark.parametrize(
    ("sizes", "count"),
    [
        ([100], 0),
        ([100] * 15, 0),
        ([100] * 16, 16),
        ([100_000, *[100] * 16], 16),
        ([*[3000] * 14, *[100] * 16], 16),
        ([100, *[3000] * 15], 16),
        ([100, *[3000] * 16], 17),
        ([*[1600] * 15, *[100] * 16], 31),
        ([CAP // 8] * 16, 0),
        ([CAP] * 20, 0),
    ],
)
def test_segments_to_join(sizes: list[int], count: int) -> None:
    assert segments_to_join(sizes) == count


@given(st.integers(100, 50_000), st.integers(100, 2000))
def test_many_publications_have_few_segments_and_are_seldom_written_again(
    size: int, publications: int
) -> None:
    sizes: list[int] = []
    written = 0
    for _ in range(publications):
        sizes.append(size)
        count = segments_to_join(sizes)
        if count:
            sizes[-count:] = [sum(sizes[-count:])]
        written += sizes[-1]
    assert len(sizes) <= 16 * 6 + 16 * size * publications // CAP
    assert written <= 5 * size * publications


def test_deleted_results_and_workdirs_are_left_out() -> None:
    kept = replace(TASK, task_hash=TaskHash(b"k" * 20), workdir=b"w" * 20, workdir_digest=b"d" * 32)
    bare = replace(kept, task_hash=TaskHash(b"b" * 20), workdir=b"v" * 20)
    publication = Publication(7, (TASK, kept, bare))
    named = [*named_ids(kept.task_hash, NO_KEY, kept.workdir), bare.task_hash]
    table = make_lookup([segment([[], named], 3)])
    assert table.without_deleted(4, publication).tasks == (
        kept,
        replace(bare, workdir=b"", workdir_digest=b""),
    )
    assert table.without_deleted(3, publication).tasks == ()


def test_ids_of_a_result() -> None:
    assert named_ids(TASK.task_hash, TASK.static_key, b"") == [TASK.task_hash, TASK.static_key]
    assert named_ids(TASK.task_hash, NO_KEY, b"w" * 20) == [TASK.task_hash, b"w" * 20]


def test_a_table_of_segments_in_order() -> None:
    table = make_lookup([segment([[b"\x01" * 20]]), segment([[b"\x01" * 20]], 2)])
    assert [found.number for found in table.find(b"\x01" * 20)] == [1, 2]
    wrongs: list[list[Segment]] = [[segment([[]], 2), segment([[]])], [Segment((), array("Q"))]]
    for wrong in wrongs:
        with pytest.raises(ValueError):
            make_lookup(wrong)
