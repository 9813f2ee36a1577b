"""The forms of orders and receipts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct, structs, to_builtins

from prov.errors import ProvError, StoreError
from prov.farm.credentials import canonical
from prov.farm.order import (
    ORDER,
    Assignment,
    Facts,
    Receipt,
    decode,
    encode,
    read_order,
)
from prov.store.objects import MODE_DIRECTORY, MODE_FILE, Entry
from prov.store.repository import Store

HEX = "12" * 20
ASSIGNMENT = Assignment(format=1, order=HEX, url="/x", roots=[HEX])
RECEIPT = Receipt(
    format=1,
    order=HEX,
    inputs=HEX,
    status="ran",
    problem="",
    parts=HEX,
    host="h",
    began=1.5,
    seconds=2.0,
    fetched=0.1,
    pushed=0.0,
    bytes_fetched=10,
    memory=1 << 20,
    notes=["note"],
)
FACTS = Facts(
    format=1,
    nonce="n",
    task="a:go",
    task_hash=HEX,
    static_key="",
    start=HEX,
    chain="go",
    machine="x86_64",
    python="",
    network=False,
    workdir="/w",
    seen_workdir="/build",
    outputdir="out",
    time=1.0,
)


@pytest.mark.parametrize("form", [ASSIGNMENT, RECEIPT, FACTS])
def test_forms_are_read_as_written(form: Struct) -> None:
    assert decode(encode(form), type(form)) == form


@pytest.mark.parametrize("form", [ASSIGNMENT, RECEIPT, FACTS])
def test_another_format_number_is_named(form: Any) -> None:
    newer = encode(structs.replace(form, format=2))
    with pytest.raises(ProvError, match="has format 2, this prov reads 1"):
        decode(newer, type(form))


@pytest.mark.parametrize(
    "change",
    [
        {"order": "12"},
        {"order": HEX + "\n"},
        {"status": "done"},
        {"seconds": -1.0},
        {"seconds": "1"},
        {"memory": -1},
        {"problem": "two\nlines"},
        {"notes": ["x"] * 21},
        {"parts": "g" * 40},
        {"other": 1},
    ],
)
def test_invalid_receipts_are_rejected(change: dict[str, Any]) -> None:
    with pytest.raises(ProvError, match="invalid receipt"):
        decode(canonical(to_builtins(RECEIPT) | change), Receipt)


@settings(max_examples=300)
@given(data=st.binary(max_size=100) | st.just(b"[" * 5000))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    with pytest.raises(ProvError):
        decode(data, Receipt)


def test_incomplete_orders_are_rejected(store: Store) -> None:
    with store.objects.writer() as writer:
        empty = writer.add_tree([])
        facts = writer.add("blob", encode(FACTS))
        parts = [Entry(ORDER, MODE_FILE, facts), Entry(b"definition", MODE_FILE, facts)]
        parts += [Entry(name, MODE_DIRECTORY, empty) for name in (b"inputs", b"start", b"tools")]
        whole = writer.add_tree([*parts, Entry(b"held", MODE_FILE, facts)])
        part = writer.add_tree(parts)
    with pytest.raises(StoreError, match="has no held"):
        read_order(store.objects, part)
    with pytest.raises(StoreError, match="contains the inputs of a different task"):
        read_order(store.objects, whole)
