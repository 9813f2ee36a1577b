"""Encode and decode publications; other texts are rejected."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prov.records.ids import OutputId, StaticKey, TaskHash
from prov.records.keys import TaskKey
from prov.remote.publication import Publication, Published, decode_publication, record_commit
from prov.store.objects import decode_commit, object_id

NAMES = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_+-]{0,20}", fullmatch=True)
IDS = st.binary(min_size=20, max_size=20)
DIGESTS = st.binary(min_size=32, max_size=32)
TASKS = st.builds(
    Published,
    st.builds("{}:{}".format, NAMES, NAMES),
    IDS,
    IDS,
    IDS,
    IDS,
    DIGESTS,
    st.integers(0, 10**15 - 1),
    st.just("") | IDS.map(bytes.hex),
)
WORKDIRS = st.builds(
    lambda task, oid, digest: replace(task, workdir=oid, workdir_digest=digest), TASKS, IDS, DIGESTS
)
PUBLICATIONS = st.builds(
    Publication,
    st.integers(0, (1 << 40) - 1),
    st.lists(TASKS | WORKDIRS, max_size=5).map(tuple),
    st.lists(IDS, max_size=5).map(tuple),
)

TASK = Published(
    TaskKey("zlib:compile"),
    TaskHash(b"h" * 20),
    StaticKey(b"s" * 20),
    OutputId(b"o" * 20),
    b"r" * 20,
    b"d" * 32,
    5,
)
TEXT = Publication(7, (TASK,), (b"u" * 20,)).encode()
LINE = TASK.encode()


@given(PUBLICATIONS)
def test_an_encoded_text_is_decoded(publication: Publication) -> None:
    assert decode_publication(publication.encode()) == publication


def test_the_text_of_a_publication() -> None:
    assert TEXT.decode() == (
        "prov publication 1\n"
        "time 7\n"
        f"task zlib:compile {'68' * 20} {'73' * 20} {'6f' * 20} {'72' * 20} {'64' * 32} size=5\n"
        f"used {'75' * 20}\n"
    )


def test_the_order_of_lines_is_fixed() -> None:
    head, task, used = TEXT.split(b"\n", 2)[:2], LINE.encode(), f"used {'75' * 20}\n".encode()
    swapped = b"\n".join(head) + b"\n" + used + task
    assert sorted(swapped) == sorted(TEXT)
    with pytest.raises(ValueError, match="canonical form"):
        decode_publication(swapped)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("prov publication 1", "prov publication 2", "not a publication"),
        ("time 7", "when 7", "invalid time"),
        ("time 7", "time -1", "invalid time"),
        ("time 7", f"time {1 << 40}", "invalid time"),
        ("time 7", "time 07", "canonical form"),
        ("time 7", "time x", "invalid literal"),
        ("used ", "Used ", "unknown keyword"),
        ("75" * 20, "75" * 19, "invalid id"),
        ("75" * 20, "7A" * 20, "invalid id"),
        ("zlib:compile", "zlib", "invalid task"),
        ("zlib:compile", "zlib:compile:x", "invalid task"),
        ("zlib:compile", "../x:compile", "invalid task"),
        ("zlib:compile", "zlib:a..b", "invalid task"),
        ("zlib:compile", "zlib:a.lock", "invalid task"),
        ("zlib:compile", "zlib.lock:a", "invalid task"),
        ("zlib:compile", "zl\u0131b:a", "ascii"),
        ("zlib:compile", f"{'z' * 201}:a", "invalid task"),
        ("size=5", "size=-5", "invalid size"),
        ("size=5", "size=5 size=6", "unknown fields"),
        ("size=5", "size=5 owner=x", "unknown fields"),
        ("size=5", "size=5 place=x", "invalid place"),
        ("size=5", f"size=5 workdir={'0' * 40}", "invalid id"),
        ("size=5", f"size=5 workdir={'0' * 40}:{'0' * 40}", "invalid id"),
        ("size=5", f"place={'0' * 40} size=5", "canonical form"),
        ("64" * 32, "64" * 20, "invalid id"),
    ],
)
def test_other_texts_are_rejected(old: str, new: str, why: str) -> None:
    text = TEXT.decode().replace(old, new)
    assert text.encode() != TEXT
    with pytest.raises(ValueError, match=re.escape(why)):
        decode_publication(text.encode())


@pytest.mark.parametrize(
    "data", [b"", b"\n", TEXT[:-1], TEXT + b"\n", TEXT.replace(b"\n", b"\r\n")]
)
def test_a_truncated_text_is_rejected(data: bytes) -> None:
    with pytest.raises((ValueError, IndexError)):
        decode_publication(data)


def test_the_commit_of_a_record_depends_only_on_its_tree() -> None:
    content = record_commit(TASK.record).encode()
    assert TASK.commit == object_id("commit", content)
    commit = decode_commit(content)
    assert (commit.tree, commit.parents) == (TASK.record, ())
