"""Tests of reading shell words: their unquoted text and the names they use."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prov.recipes.shell_names import NameNotes, UnreadableScript
from prov.recipes.shell_words import MOST_NESTED, Cursor, WordReader


class NoCommands:
    """Replaces the command reader for words without commands."""

    def read_substitution(self) -> None:
        raise AssertionError

    def read_script(self, script: str, nesting: int) -> NameNotes:
        notes = NameNotes()
        notes.use(f"script_{script}_{nesting}")
        return notes

    def read_text(self, text: str, nesting: int) -> NameNotes:
        notes = NameNotes()
        notes.use(f"text_{text}_{nesting}")
        return notes


def reader(script: str) -> WordReader:
    return WordReader(Cursor(script), NameNotes(), NoCommands())


def used(words: WordReader) -> str:
    return " ".join(event.name for event in words.notes.events)


@pytest.mark.parametrize(
    ("script", "text", "names", "rest"),
    [
        ("a.c b", "a.c", "", " b"),
        ("a;b", "a", "", ";b"),
        ("a#b#", "a#b#", "", ""),
        (r"a\ b", "a b", "", ""),
        ("a\\\nb", "ab", "", ""),
        (r"\$X", "$X", "X", ""),
        ("'a $X'b", "a $Xb", "X", ""),
        ('"a b"c', "a bc", "", ""),
        ('"a $X\'"', "a '", "X", ""),
        (r'"\"$X"', '"', "X", ""),
        ("$X.$Y z", ".", "X Y", " z"),
        ("${X}y", "y", "X", ""),
        ("${#X}${!Y}", "", "X Y", ""),
        ("${X:-$Y}", "", "X Y", ""),
        ('${X%"${Y}"*}\'', None, "X Y", ""),
        ("${X#'}'", None, "X", ""),
        (r"${X#\}}", "", "X", ""),
        ("${X", None, "X", ""),
        ("$1$@$?x", "x", "", ""),
        ("$ x", "$", "", " x"),
        ("$%", "$%", "", ""),
        ("$'a\\'b'c", "c", "", ""),
        ("$'a", None, "", ""),
        ("$((X + $Y))b", "b", "X Y", ""),
        ("`a $X`b", "b", "script_a $X_1", ""),
        (r"`a \`b\``", "", "script_a `b`_1", ""),
        ("'a", None, "", ""),
        ('"a', None, "", ""),
        (";", None, "", ""),
        ("", None, "", ""),
    ],
)
def test_a_word(script: str, text: str | None, names: str, rest: str) -> None:
    words = reader(script)
    if text is None:
        with pytest.raises(UnreadableScript):
            words.word()
    else:
        assert words.word().text == text
        assert used(words) == names
        assert script[words.cursor.at :] == rest


@pytest.mark.parametrize(
    ("script", "quoted", "expands"),
    [
        ("a", False, False),
        ("$a", False, True),
        ("'$a'", True, False),
        ('"$a"', True, True),
        ('"a"', True, False),
        (r"\a", True, False),
    ],
)
def test_quotes_and_expansions_are_noted(script: str, quoted: bool, expands: bool) -> None:
    word = reader(script).word()
    assert (word.quoted, word.expands) == (quoted, expands)


@pytest.mark.parametrize(
    ("script", "needed", "assigned"),
    [
        ("$X", "X", ""),
        ("${X}", "X", ""),
        ("${X%.c}", "X", ""),
        ("${X:-a}", "", "X"),
        ("${X=a}", "", "X"),
        ("${X?}", "", "X"),
        ("${X+a}", "", "X"),
        ("$((X + 1))", "", ""),
        ("$((X = Y == 2))", "", "X"),
        ("$((X += 2, Y <<= 1))", "", "X"),
    ],
)
def test_names_that_must_be_set(script: str, needed: str, assigned: str) -> None:
    notes_of = reader(script)
    notes_of.word()
    assert notes_of.notes.needed == set(needed.split())
    assert notes_of.notes.assigned == set(assigned.split())


@pytest.mark.parametrize(
    ("script", "makes_up"), [("${!X}", True), ("$(($X + 1))", True), ("$((X))", False)]
)
def test_computed_names(script: str, makes_up: bool) -> None:
    words = reader(script)
    words.word()
    assert words.notes.makes_up_names is makes_up


@pytest.mark.parametrize(
    ("script", "strips", "names", "rest"),
    [
        (" E\n$A\nE\nb", False, "text_$A\n_1", "b"),
        (" 'E'\n$A ${B}\nE\nb", False, "A B", "b"),
        ("E\n\tE\nE", False, "text_\tE\n_1", ""),
        ("E\n$A\n\tE\nb", True, "text_$A\n_1", "b"),
    ],
)
def test_a_here_document(script: str, strips: bool, names: str, rest: str) -> None:
    words = reader(script)
    words.begin_document(strips_tabs=strips)
    words.cursor.skip(1)
    words.read_documents()
    assert used(words) == names
    assert script[words.cursor.at :] == rest
    assert words.documents == []


def test_a_here_document_without_an_end_is_not_read() -> None:
    words = reader("E\n$A\n")
    words.begin_document(strips_tabs=False)
    words.cursor.skip(1)
    with pytest.raises(UnreadableScript):
        words.read_documents()


def test_deep_nesting_is_not_read() -> None:
    reader("${X:-" * MOST_NESTED + "}" * MOST_NESTED).word()
    with pytest.raises(UnreadableScript):
        reader("${X:-" * (MOST_NESTED + 1) + "}" * (MOST_NESTED + 1)).word()


@pytest.mark.parametrize(
    ("script", "rest", "code"),
    [
        ("  a", "a", "  "),
        ("\t\r\f\v", "", "\t\r\f\v"),
        (" # c\na", "\na", " "),
        ("# c", "", ""),
        ("\\\n \\\n#c", "", " "),
        ("\\a", "\\a", ""),
        ("\u00a0", "\u00a0", ""),
    ],
)
def test_blanks_and_comments_are_skipped(script: str, rest: str, code: str) -> None:
    cursor = Cursor(script)
    cursor.skip_blanks()
    assert script[cursor.at :] == rest
    assert "".join(cursor.code) == code


@given(st.text(st.sampled_from("aX1 \n'\"\\$`{}()#;é")))
def test_a_word_is_read_completely(script: str) -> None:
    """A word reads at least one character, and everything it reads is code or a comment."""
    words = reader(script)
    try:
        words.word()
    except (UnreadableScript, AssertionError):
        return
    assert 0 < words.cursor.at <= len(script)
    assert "".join(words.cursor.code) == script[: words.cursor.at]
