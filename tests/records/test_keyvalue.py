"""Tests of names and values as lines: every value is one line and is read back."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from prov.records.keyvalue import decode_lines, encode_lines

names = st.from_regex(r"\A[A-Za-z_][A-Za-z0-9_-]{0,10}\Z")
values = st.text(st.characters(codec="utf-8"), max_size=40) | st.text(
    alphabet="\\n\n\r\f\u2028\x85 =", max_size=12
)
separators = st.sampled_from([" ", "="])


@given(st.dictionaries(names, values, max_size=6), separators)
@example({"a": "\\n"}, " ")
@example({"a": "\\\n"}, "=")
@example({"a": "\\\\n\n"}, "=")
def test_lines_are_read_back(lines: dict[str, str], between: str) -> None:
    assert decode_lines(encode_lines(lines, between), between) == lines


@given(st.dictionaries(names, values, max_size=6), separators)
def test_each_value_is_one_line(lines: dict[str, str], between: str) -> None:
    data = encode_lines(lines, between)
    assert data.count(b"\n") == len(lines)
    assert data == b"" or data.endswith(b"\n")


@given(st.binary(max_size=20).filter(lambda data: b"\0" not in data))
def test_bytes_that_are_not_utf8_are_kept(data: bytes) -> None:
    value = data.decode("utf-8", "surrogateescape")
    assert decode_lines(encode_lines({"PATH": value}, "="), "=") == {"PATH": value}


@given(st.dictionaries(names, values, min_size=2, max_size=6))
def test_order_is_kept(lines: dict[str, str]) -> None:
    assert list(decode_lines(encode_lines(lines, " "), " ")) == list(lines)


@pytest.mark.parametrize(
    ("lines", "between", "data"),
    [
        ({}, " ", b""),
        ({"task": "zlib:compile"}, " ", b"task zlib:compile\n"),
        ({"CFLAGS": "-O2 -DX=1"}, "=", b"CFLAGS=-O2 -DX=1\n"),
        ({"EMPTY": ""}, "=", b"EMPTY=\n"),
        ({"text": "a\nb"}, " ", b"text a\\nb\n"),
        ({"text": "a\\nb"}, " ", b"text a\\\\nb\n"),
        ({"text": "a\\"}, " ", b"text a\\\\\n"),
        ({"page": "a\fb"}, " ", b"page a\fb\n"),
    ],
)
def test_format(lines: dict[str, str], between: str, data: bytes) -> None:
    assert encode_lines(lines, between) == data
    assert decode_lines(data, between) == lines


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"name\n", {"name": ""}),
        (b"name value", {"name": "value"}),
        (b"\n\na 1\n\n", {"a": "1"}),
        (b"a 1\na 2\n", {"a": "2"}),
        (b"a  two spaces\n", {"a": " two spaces"}),
        (b"a 1\r\n", {"a": "1\r"}),
        (b"a \\x\n", {"a": "\\x"}),
    ],
)
def test_lines_of_other_programs(data: bytes, lines: dict[str, str]) -> None:
    assert decode_lines(data, " ") == lines
