from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prov.errors import ProvError
from prov.text import few, name_text, nearest, one_line, parse_size, printable, size_text


@given(st.text())
def test_printable_text_has_no_control_characters(text: str) -> None:
    result = printable(text)
    assert not any(ord(character) < 32 and character not in "\t\n" for character in result)
    assert printable(result) == result
    assert "\n" not in name_text(text)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("é ü 漢", "é ü 漢"),
        ("a\x1b[31mb", r"a\x1b[31mb"),
        ("a\rb", r"a\rb"),
        ("a\u202eb", r"a\u202eb"),
        ("a\tb\n", "a\tb\n"),
    ],
)
def test_printable(text: str, result: str) -> None:
    assert printable(text) == result


def test_lines_as_one() -> None:
    assert one_line("  a\n\n b \n") == "a / b"


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ("", ""),
        ("a", "a"),
        ("abc", "a, b, c"),
        ("aab", "a, b"),
        ("abcde", "a, b, c and 2 more"),
    ],
)
def test_few(names: str, text: str) -> None:
    assert few(names) == text


def test_nearest() -> None:
    assert nearest("complie", ["compile", "install"]) == "did you mean compile?"
    assert nearest("xyz", ["compile", "install"]) == ""


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1_440_000, "1.4 MB"),
        (5 * 10**15, "5000.0 TB"),
    ],
)
def test_sizes_as_text(size: int, text: str) -> None:
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("1.5k", 1500), ("500M", 500_000_000), ("20 GB", 20 * 10**9), ("2T", 2 * 10**12)],
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "M", "1X", "-1", "1e3", "1.M", "٣", "9" * 400])
def test_invalid_sizes(text: str) -> None:
    with pytest.raises(ProvError, match="invalid size"):
        parse_size(text)
