"""Read a shell script to find the variables it uses.

A script's own variables are not inputs: after an `X=`, `read X` or `unset X` that certainly runs,
X belongs to the script. Every other use counts, even if it may not run: `$X`, `${X:-…}`,
arithmetic, `export X`, here-documents. If a script cannot be read, or computes names at run time
(`eval`, `export $X`, `$(($X + 1))`), every word in it that may be a name counts as used.

The reader understands words and quotes, and the part of the grammar that decides whether a command
certainly runs. (Source: POSIX.1-2017, Shell Command Language, 2.7 to 2.10.)
"""

from __future__ import annotations

import re
from functools import lru_cache

from prov.recipes.shell_names import (
    NAMES,
    NameNotes,
    Names,
    UnreadableScript,
    Word,
    note_command,
)
from prov.recipes.shell_words import MOST_NESTED, Cursor, WordReader

__all__ = ["MOST_NESTED", "Names", "names_in"]

_OPERATOR = re.compile(r"\n|;;&?|;&|&&|\|\||<<-?|<>|>>|>\||[<>]&|[;&|()<>]")
_REDIRECTIONS = frozenset(("<", ">", ">>", ">|", "<>", "<&", ">&"))
_DOCUMENTS = frozenset(("<<", "<<-"))
_BRANCH_ENDS = (";;", ";&", ";;&", "esac")
_CHAINING = ("&&", "||", "|")
"""After these operators, a command may not run or runs in a separate process."""
_MISPLACED = frozenset(("", ")", *_BRANCH_ENDS))
"""Operators that end a construct; invalid where no such construct is open."""
_RESERVED = frozenset(("then", "do", "else", "elif", "fi", "done", "esac", "}"))


@lru_cache(maxsize=4096)
def names_in(script: str) -> Names:
    """Return the names that a script uses and sets."""
    reader = _CommandReader(script)
    try:
        reader.commands(("",))
    except UnreadableScript:
        every = frozenset(NAMES.findall(script))
        return Names(every, every, readable=False)
    notes = reader.notes
    words = frozenset(NAMES.findall("".join(reader.cursor.code)))
    used = notes.used()
    if notes.evaluates or notes.makes_up_names:
        used |= words
    return Names(
        used,
        words,
        frozenset(notes.needed),
        frozenset(notes.assigned),
        readable=not notes.evaluates,
    )


class _CommandReader:
    """Reads the commands of a script in one pass."""

    __slots__ = ("_arithmetic_end", "cursor", "notes", "words")

    def __init__(self, script: str, nesting: int = 0) -> None:
        self.cursor = Cursor(script, nesting=nesting)
        self.notes = NameNotes()
        self.words = WordReader(self.cursor, self.notes, self)
        self._arithmetic_end = 0
        """Every name before this position counts as used: it may be in an arithmetic command."""

    def read_substitution(self) -> None:
        """Read the commands of `$(…)` up to their end."""
        self._inside((")",))

    def read_script(self, script: str, nesting: int) -> NameNotes:
        """Return the notes of a nested script."""
        reader = _CommandReader(script, nesting)
        reader.commands(("",))
        return reader.notes

    def read_text(self, text: str, nesting: int) -> NameNotes:
        """Return the notes of a text expanded as if in double quotes."""
        reader = _CommandReader(text, nesting)
        reader.words.double_quoted("")
        return reader.notes

    def commands(self, ends: tuple[str, ...]) -> str:
        """Read commands up to one of the operators or reserved words in `ends`; return it.

        The end of the script is the operator "".
        """
        self.cursor.open()
        end = self._commands(ends)
        self.cursor.close()
        return end

    def _commands(self, ends: tuple[str, ...]) -> str:
        words: list[Word] = []
        is_chained = False  # to the previous command, by &&, || or a pipe
        first_event = list_event = len(self.notes.events)
        while True:
            operator = self._next(words)
            if operator is None:
                if _is_bare(words):
                    if words[0].text in ends:
                        return words[0].text
                    self._reserved(words)
                continue
            if operator == "(":
                self._subshell(words)
                continue
            note_command(words, self.notes)
            if operator == "&":
                # the whole list of commands runs in a separate process
                self.notes.forget_settings(list_event)
            elif is_chained or operator == "|":
                # it may not run, or sets variables in a separate process
                self.notes.forget_settings(first_event)
            if operator in ends:
                return operator
            if operator in _MISPLACED:
                raise UnreadableScript
            is_chained = operator in _CHAINING or (is_chained and not words)
            words, first_event = [], len(self.notes.events)
            if not is_chained:
                list_event = first_event

    def _next(self, words: list[Word]) -> str | None:
        """Read a word, append it to `words` and return None; or read and return an operator.

        Redirections, here-documents and functions before it are read too. The end of the script is
        the operator "".
        """
        cursor = self.cursor
        while True:
            cursor.skip_blanks()
            if cursor.at_end:
                return ""
            match = _OPERATOR.match(cursor.script, cursor.at)
            if match is None:
                words.append(self.words.word())
                return None
            operator = cursor.take(match.end())
            if operator in _DOCUMENTS:
                self.words.begin_document(strips_tabs=operator == "<<-")
            elif operator in _REDIRECTIONS:
                cursor.skip_blanks()
                self.words.word()  # a file name: its expansions are uses; it is not an argument
            elif operator == "(" and len(words) == 1 and NAMES.fullmatch(words[0].text):
                words.clear()
                self._function()
            else:
                if operator == "\n":
                    self.words.read_documents()
                return operator

    def _reserved(self, words: list[Word]) -> None:
        """Read the rest of a construct if a command's only word is a reserved word."""
        word = words[0].text
        if word in _RESERVED:
            raise UnreadableScript
        read = {
            "!": self._nothing,
            "time": self._nothing,
            "{": self._group,
            "while": self._loop,
            "until": self._loop,
            "if": self._if,
            "case": self._case,
            "for": self._for,
            "select": self._for,
        }.get(word)
        if read is not None:
            words.clear()
            read()

    def _nothing(self) -> None:
        """Read nothing: `!` and `time` precede a command."""

    def _group(self) -> None:
        """Read the rest of `{`; its commands run in this process."""
        self.commands(("}",))

    def _loop(self) -> None:
        """Read the rest of `while` or `until`; the body may not run."""
        self.commands(("do",))
        self._inside(("done",))

    def _if(self) -> None:
        """Read the rest of `if`; any branch may not run."""
        self.commands(("then",))
        while self._inside(("elif", "else", "fi")) != "fi":
            pass

    def _for(self) -> None:
        """Read the rest of `for` or `select`; the body may not run."""
        self.cursor.skip_blanks()
        self.notes.assigned.add(self.words.word().text)
        words: list[Word] = []
        while not _ends_with(words, "do"):
            if self._next(words) not in (None, ";", "\n"):
                raise UnreadableScript
        self._inside(("done",))

    def _case(self) -> None:
        """Read the rest of `case`; any branch may not run."""
        words: list[Word] = []
        while not (words and words[-1].text == "in"):
            if self._next(words) not in (None, "\n"):
                raise UnreadableScript
        while self._pattern():
            if self._inside(_BRANCH_ENDS) == "esac":
                return

    def _pattern(self) -> bool:
        """Read a branch's patterns up to their `)`; return False on `esac`."""
        words: list[Word] = []
        operator = self._next(words)
        while operator in ("\n", "("):
            operator = self._next(words)
        if words and words[0].text == "esac" and not words[0].quoted:
            return False
        while operator in (None, "|"):
            operator = self._next(words)
        if operator != ")":
            raise UnreadableScript
        return True

    def _inside(self, ends: tuple[str, ...]) -> str:
        """Read commands that may not run, or that run in a separate process."""
        self.notes.uncertain += 1
        end = self.commands(ends)
        if end == "elif":
            self.commands(("then",))
        self.notes.uncertain -= 1
        return end

    def _subshell(self, words: list[Word]) -> None:
        """Read a subshell after its `(`; it may also be a bash arithmetic command."""
        if words:
            raise UnreadableScript
        cursor = self.cursor
        # do not search the same text again: a row of brackets would take quadratic time
        if cursor.sees("(") and cursor.at >= self._arithmetic_end:
            end = cursor.script.find("))", cursor.at)
            self._arithmetic_end = len(cursor.script) if end < 0 else end
            text = cursor.script[cursor.at : self._arithmetic_end]
            self.notes.use(*NAMES.findall(text))
        self._inside((")",))

    def _function(self) -> None:
        """Read a function after its `(`; its body may never run."""
        cursor = self.cursor
        cursor.skip_blanks()
        if not cursor.sees(")"):
            raise UnreadableScript
        cursor.skip(1)
        cursor.skip_blanks()
        while cursor.sees("\n"):
            cursor.skip(1)
            cursor.skip_blanks()
        end = {"{": "}", "(": ")"}.get(cursor.char)
        if end is None:
            raise UnreadableScript
        cursor.skip(1)
        self._inside((end,))


def _is_bare(words: list[Word]) -> bool:
    """Return whether the command is a single word without quotes and expansions so far."""
    return len(words) == 1 and not words[0].quoted and not words[0].expands


def _ends_with(words: list[Word], text: str) -> bool:
    """Return whether the last word is `text`, unquoted."""
    return bool(words) and words[-1].text == text and not words[-1].quoted
