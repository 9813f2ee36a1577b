"""Read the words of a shell script: quotes, expansions and here-documents.

(Source: POSIX.1-2017, Shell Command Language, 2.2 to 2.6.)
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Protocol

from prov.recipes.shell_names import MENTIONED, NAME, NAMES, NameNotes, UnreadableScript, Word

MOST_NESTED = 40
"""Maximum nesting depth of constructs. A script with deeper nesting is not read."""
_ASSIGNED_TO = re.compile(rf"(?<!\w)((?>{NAME}))(?!\w)\s*+[-+*/%&|^]?=(?!=)")
_BLANKS = re.compile(r"[ \t\r\f\v]+")
_PLAIN = re.compile(r"[^ \t\n\r\f\v\\'\"`$;&|()<>#]+")
_PLAIN_IN_QUOTES = re.compile(r"[^\\\"`$]+")
_PLAIN_IN_BRACES = re.compile(r"[^\\'\"`$}]+")
_BACKQUOTED = re.compile(r"`((?:\\.|[^\\`])*)`", re.DOTALL)
_DOLLAR_QUOTED = re.compile(r"\$'(?:\\.|[^\\'])*'", re.DOTALL)
_PARAMETER = re.compile(rf"\$\{{[#!]?({NAME})?")
_OPTIONAL = re.compile(r":?[-=?+]")
_SPECIAL = frozenset("0123456789@*#?-$!")


@dataclass(slots=True)
class Cursor:
    """A script and the current position in it."""

    script: str
    at: int = 0
    code: list[str] = field(default_factory=list)
    """The text read so far, without comments."""
    nesting: int = 0
    """The number of open constructs."""

    @property
    def at_end(self) -> bool:
        return self.at >= len(self.script)

    @property
    def char(self) -> str:
        """The next character; empty at the end."""
        return self.script[self.at : self.at + 1]

    def sees(self, text: str) -> bool:
        """Return whether `text` comes next."""
        return self.script.startswith(text, self.at)

    def take(self, end: int) -> str:
        """Read the code up to position `end` and return it."""
        text = self.script[self.at : end]
        self.at += len(text)
        self.code.append(text)
        return text

    def skip(self, size: int) -> None:
        """Read `size` characters."""
        self.take(self.at + size)

    def match(self, pattern: re.Pattern[str]) -> re.Match[str]:
        """Read a match of a pattern. Raises UnreadableScript if there is none."""
        match = pattern.match(self.script, self.at)
        if match is None:
            raise UnreadableScript
        self.take(match.end())
        return match

    def skip_blanks(self) -> None:
        """Skip blanks, line continuations and a comment."""
        script = self.script
        while True:
            blanks = _BLANKS.match(script, self.at)
            if blanks:
                self.take(blanks.end())
            if script.startswith("\\\n", self.at):
                self.at += 2
            elif script.startswith("#", self.at):
                end = script.find("\n", self.at)
                self.at = len(script) if end < 0 else end
            else:
                return

    def open(self) -> None:
        """Begin a construct. Raises UnreadableScript if too many are open."""
        self.nesting += 1
        if self.nesting > MOST_NESTED:
            raise UnreadableScript

    def close(self) -> None:
        self.nesting -= 1


class Commands(Protocol):
    """Reads commands inside words."""

    def read_substitution(self) -> None:
        """Read commands up to their closing `)`."""

    def read_script(self, script: str, nesting: int) -> NameNotes:
        """Return the notes of a nested script."""

    def read_text(self, text: str, nesting: int) -> NameNotes:
        """Return the notes of a text expanded as if in double quotes."""


@dataclass(slots=True)
class HereDocument:
    """A here-document that starts on the next line."""

    delimiter: str
    strips_tabs: bool
    expands: bool


@dataclass(slots=True)
class WordReader:
    """Reads words and notes the names in them."""

    cursor: Cursor
    notes: NameNotes
    commands: Commands
    documents: list[HereDocument] = field(default_factory=list)

    def word(self) -> Word:
        """Read a word. Raises UnreadableScript if there is none."""
        cursor, word = self.cursor, Word()
        script, start = cursor.script, cursor.at
        while cursor.at < len(script):
            plain = _PLAIN.match(script, cursor.at)
            if plain:
                word.text += cursor.take(plain.end())
                continue
            char = script[cursor.at]
            if char == "#":
                word.text += cursor.take(cursor.at + 1)
            elif char in "\\'\"":
                self._quoted(word)
            elif char in "$`":
                word.text += self._expansion()
                word.expands = True
            else:
                break
        if cursor.at == start:
            raise UnreadableScript
        return word

    def _quoted(self, word: Word) -> None:
        """Read a quoted part of a word, or a backslash and the character after it."""
        cursor = self.cursor
        word.quoted = True
        if cursor.char == "\\":
            word.text += self._escaped().removesuffix("\n")
        elif cursor.char == "'":
            word.text += self._single_quoted()
        else:
            cursor.skip(1)
            start = cursor.at
            word.text += self.double_quoted('"')
            word.expands = word.expands or "$" in cursor.script[start : cursor.at]

    def _escaped(self) -> str:
        """Read a backslash and the character after it; return that character.

        A name after an escaped dollar counts as used: `eval` may expand it later.
        """
        mention = MENTIONED.match(self.cursor.script, self.cursor.at + 1)
        if mention:
            self.notes.use(mention[1])
        return self.cursor.take(self.cursor.at + 2)[1:]

    def _single_quoted(self) -> str:
        """Read text in single quotes. Its names count as used: `eval` may expand them later."""
        end = self.cursor.script.find("'", self.cursor.at + 1)
        if end < 0:
            raise UnreadableScript
        text = self.cursor.take(end + 1)[1:-1]
        self.notes.use(*MENTIONED.findall(text))
        return text

    def double_quoted(self, end: str) -> str:
        """Read double-quoted text up to a quote, or up to the script's end if `end` is empty."""
        cursor, text = self.cursor, ""
        while not cursor.at_end:
            plain = _PLAIN_IN_QUOTES.match(cursor.script, cursor.at)
            if plain:
                text += cursor.take(plain.end())
            elif cursor.char == '"':
                cursor.skip(1)
                if end:
                    return text
            elif cursor.char == "\\":
                text += self._escaped()
            else:
                text += self._expansion()
        if end:
            raise UnreadableScript
        return text

    def _expansion(self) -> str:
        """Read an expansion that starts with a dollar or a backquote.

        Return an empty text, or "$" for a literal dollar.
        """
        cursor = self.cursor
        name = NAMES.match(cursor.script, cursor.at + 1)
        if cursor.char == "`":
            self._backquoted()
        elif name:
            cursor.take(name.end())
            self.notes.use(name[0])
            self.notes.needed.add(name[0])
        elif cursor.sees("$(("):
            self._arithmetic()
        elif cursor.sees("$("):
            self._substitution()
        elif cursor.sees("${"):
            self._braces()
        elif cursor.sees("$'"):
            cursor.match(_DOLLAR_QUOTED)
        elif cursor.script[cursor.at + 1 : cursor.at + 2] in _SPECIAL:
            cursor.skip(2)
        else:
            return cursor.take(cursor.at + 1)
        return ""

    def _backquoted(self) -> None:
        script = re.sub(r"\\([\\`$])", r"\1", self.cursor.match(_BACKQUOTED)[1])
        self.notes.add(self.commands.read_script(script, self.cursor.nesting + 1))

    def _substitution(self) -> None:
        self.cursor.skip(2)
        self.commands.read_substitution()

    def _braces(self) -> None:
        """Read `${…}`."""
        cursor, notes = self.cursor, self.notes
        begun = cursor.match(_PARAMETER)
        name = begun[1]
        cursor.open()
        notes.makes_up_names |= begun[0].startswith("${!")
        if name:
            notes.use(name)
            is_optional = _OPTIONAL.match(cursor.script, cursor.at) is not None
            names = notes.assigned if is_optional else notes.needed
            names.add(name)
        while not cursor.sees("}"):
            self._part_in_braces()
        cursor.skip(1)
        cursor.close()

    def _part_in_braces(self) -> None:
        cursor = self.cursor
        plain = _PLAIN_IN_BRACES.match(cursor.script, cursor.at)
        if plain:
            cursor.take(plain.end())
        elif cursor.char == "\\":
            self._escaped()
        elif cursor.char == '"':
            cursor.skip(1)
            self.double_quoted('"')
        elif cursor.char == "'":
            # inside double quotes it does not quote; elsewhere names in the quotes count as used
            cursor.skip(1)
        elif cursor.at_end:
            raise UnreadableScript
        else:
            self._expansion()

    def _arithmetic(self) -> None:
        """Read `$((…))`, in which names need no dollar.

        An unset variable is 0 there, so names in it do not count as needed.
        """
        cursor = self.cursor
        end = _closing_bracket(cursor.script, cursor.at + 1)
        if not cursor.script.endswith("))", 0, end):  # a subshell in a command substitution
            self._substitution()
            return
        text = cursor.take(end)
        self.notes.makes_up_names |= "$" in text[1:] or "`" in text
        self.notes.use(*NAMES.findall(text))
        self.notes.assigned.update(_ASSIGNED_TO.findall(text))

    def begin_document(self, *, strips_tabs: bool) -> None:
        """Read the delimiter of a here-document."""
        self.cursor.skip_blanks()
        delimiter = self.word()
        self.documents.append(HereDocument(delimiter.text, strips_tabs, not delimiter.quoted))

    def read_documents(self) -> None:
        """Read the here-documents announced on the line just read."""
        documents, self.documents = self.documents, []
        for document in documents:
            text = self._document_text(document)
            if document.expands:
                self.notes.add(self.commands.read_text(text, self.cursor.nesting + 1))
            else:
                self.notes.use(*MENTIONED.findall(text))

    def _document_text(self, document: HereDocument) -> str:
        """Read a here-document with its delimiter; return its text.

        Raises UnreadableScript if the delimiter is missing.
        """
        cursor = self.cursor
        lines: list[str] = []
        while not cursor.at_end:
            end = cursor.script.find("\n", cursor.at)
            line = cursor.take(len(cursor.script) if end < 0 else end + 1)
            text = line.lstrip("\t") if document.strips_tabs else line
            if text.rstrip("\n") == document.delimiter:
                return "".join(lines)
            lines.append(line)
        raise UnreadableScript


def _closing_bracket(script: str, start: int) -> int:
    """Return the position after the `)` that closes the bracket at `start`; 0 if there is none."""
    depth = 0
    for place in range(start, len(script)):
        depth += {"(": 1, ")": -1}.get(script[place], 0)
        if depth == 0:
            return place + 1
    return 0
