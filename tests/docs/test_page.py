"""Parsing and comparison of documentation pages, without running commands."""

from __future__ import annotations

import pytest

from tests.docs.page import Block, Result, Step, mismatch, parse, steps

PAGE = """# Title

```console
$ one
```

## Section
<!-- needs: no-such-program -->

```sh
two
```

### Below

<!-- file: a.toml -->
```toml
[a]
```

## Next

<!-- skip: takes an hour -->
```console
$ three
```
<!-- run
$ four
-->
"""


def test_parse_reads_blocks_and_their_marks() -> None:
    needs = {"needs": "no-such-program"}
    assert parse(PAGE) == [
        Block(3, "console", "$ one\n"),
        Block(10, "sh", "two\n", needs),
        Block(17, "toml", "[a]\n", needs | {"file": "a.toml"}),
        Block(24, "console", "$ three\n", {"skip": "takes an hour"}),
        Block(27, "console", "$ four\n"),
    ]
    assert [block.reason_to_skip() for block in parse(PAGE)] == [
        "",
        "needs no-such-program",
        "needs no-such-program",
        "takes an hour",
        "",
    ]


def test_mark_without_a_reason_is_rejected() -> None:
    with pytest.raises(ValueError, match="line 1: "):
        parse("<!-- skip: -->\n```sh\none\n```\n")


def test_steps_joins_continued_lines_and_here_documents() -> None:
    text = "$ one \\\n  two\nout\n$ cat > f <<'END'\n$ text\nEND\n$ three\n"
    assert steps(Block(1, "console", text)) == [
        Step(2, "one \\\n  two", ["out"]),
        Step(5, "cat > f <<'END'\n$ text\nEND"),
        Step(8, "three"),
    ]
    with pytest.raises(ValueError, match="line 2: "):
        steps(Block(1, "console", "output\n"))


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        ("37 ran; 6.1 s; 149.6 MB added", "37 ran; 12 s; 99 kB added"),
        ("37 ran; 6.1 s; 149.6 MB added", "37 ran; 1 min 2 s; 99 kB added"),
        ("2026-11-21 01:41:30  a/7a3c…/1", "2027-01-01 00:00:00  a/0123456789abcdef0123/1"),
        ("a\n…\nd", "a\nb\nc\nd"),
        ("a\n…\nd", "a\nd"),
        ("…\nb\n…\nb", "a\nb\nb"),
        ("gcc … -o x", "gcc -c x.c -o x"),
        (" x |   7 +++", " x | 7 +++"),
    ],
)
def test_matching_output(expected: str, actual: str) -> None:
    assert not mismatch(expected.splitlines(), actual.splitlines())


@pytest.mark.parametrize(
    ("expected", "actual"),
    [("36 ran", "37 ran"), ("a\n…\nd", "a\nb"), ("a", "a\nb"), ("a\nb", "a"), ("a.c", "abc")],
)
def test_other_output(expected: str, actual: str) -> None:
    assert mismatch(expected.splitlines(), actual.splitlines())


def test_failure_must_be_shown() -> None:
    assert Result(Step(1, "false"), [], 1).fault()
    assert Result(Step(1, "false", ["one", "…"]), ["one", "prov: no"], 1).fault()
    assert not Result(Step(1, "false", ["prov: no"]), ["prov: no"], 1).fault()
    assert not Result(Step(1, "true"), ["not shown"], 0).fault()
