"""Collect the names that a shell script uses and sets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

NAME = r"[A-Za-z_][A-Za-z0-9_]*"
NAMES = re.compile(NAME)
MENTIONED = re.compile(rf"\$\{{?[#!]?({NAME})")
"""A reference to a name in text that may be expanded later, for example by `eval`."""
_ASSIGNMENT = re.compile(rf"({NAME})\+?=")

_DECLARING = frozenset(("export", "readonly", "local", "declare", "typeset"))
_SETTING = frozenset(("unset", "read", "getopts", "mapfile", "readarray"))
_TESTING = frozenset(("[", "test"))
_NAMING = frozenset(("printenv", "[[", "let"))
"""Commands that accept variable names without a dollar."""
_EVALUATING = frozenset(("eval", ".", "source", "trap"))


@dataclass(frozen=True, slots=True)
class Names:
    """The names that a script uses and sets."""

    used: frozenset[str]
    """Names that the script uses before it sets them."""
    words: frozenset[str]
    """All words outside comments; some may be names of functions."""
    needed: frozenset[str] = frozenset()
    """Names used where an unset variable stops the shell (`set -u`)."""
    assigned: frozenset[str] = frozenset()
    """Names that the script may set, or uses with a default."""
    readable: bool = True
    """Whether the script was read completely: it does not source files or evaluate text."""


class UnreadableScript(Exception):
    """The reader does not understand the script."""


@dataclass(slots=True)
class Word:
    """One word of a command."""

    text: str = ""
    """The text without quotes and expansions."""
    quoted: bool = False
    """Whether any part is quoted."""
    expands: bool = False
    """Whether it contains expansions."""


class Event(NamedTuple):
    """A name that is certainly set, or is used."""

    name: str
    is_set: bool


@dataclass(slots=True)
class NameNotes:
    """The names in a script, in reading order."""

    events: list[Event] = field(default_factory=list)
    needed: set[str] = field(default_factory=set)
    assigned: set[str] = field(default_factory=set)
    evaluates: bool = False
    """Whether the script sources files or evaluates text."""
    makes_up_names: bool = False
    """Whether the script computes variable names."""
    uncertain: int = 0
    """The number of open constructs that may not run, or that run in a process of their own."""

    def use(self, *names: str) -> None:
        """Note uses of names."""
        self.events += [Event(name, False) for name in names]

    def set(self, names: Iterable[str]) -> None:
        """Note names that are set: certainly, unless an open construct may not run."""
        names = list(names)
        self.assigned.update(names)
        if self.uncertain == 0:
            self.events += [Event(name, True) for name in names]

    def forget_settings(self, first: int) -> None:
        """Remove the certain settings from event number `first` on."""
        self.events[first:] = [event for event in self.events[first:] if not event.is_set]

    def add(self, inner: NameNotes) -> None:
        """Add the notes of a script that runs in a separate process."""
        self.events += [event for event in inner.events if not event.is_set]
        self.needed |= inner.needed
        self.assigned |= inner.assigned
        self.evaluates |= inner.evaluates
        self.makes_up_names |= inner.makes_up_names

    def used(self) -> frozenset[str]:
        """Return the names used before they are set."""
        set_before: set[str] = set()
        used: set[str] = set()
        for name, is_set in self.events:
            if is_set:
                set_before.add(name)
            elif name not in set_before:
                used.add(name)
        return frozenset(used)


def note_command(words: Sequence[Word], notes: NameNotes) -> None:
    """Note the names that a simple command sets or uses without a dollar."""
    texts = [word.text for word in words]
    assigned = _take_assignments(texts)
    if not texts:
        notes.set(assigned)
        return
    notes.assigned.update(assigned)
    command, *arguments = texts
    expands = any(word.expands and "=" not in word.text for word in words[1:])
    if expands and command in _DECLARING | _NAMING:
        notes.makes_up_names = True
    if command in _EVALUATING:
        notes.evaluates = True
    elif command in _DECLARING:
        _note_declarations(arguments, notes)
    else:
        notes.set(_names_set(command, arguments))
        for text in _tested(command, arguments):
            notes.use(*NAMES.findall(text))


def _take_assignments(texts: list[str]) -> list[str]:
    """Remove the assignments at the start of a command; return the names they set."""
    names = []
    while texts and (match := _ASSIGNMENT.match(texts[0])):
        names.append(match[1])
        texts.pop(0)
    return names


def _note_declarations(arguments: Iterable[str], notes: NameNotes) -> None:
    """Note the names in the arguments of `export`, `local` and similar commands."""
    for text in arguments:
        assignment = _ASSIGNMENT.match(text)
        if assignment:
            notes.set([assignment[1]])
        elif NAMES.fullmatch(text):
            notes.use(text)
            notes.assigned.add(text)  # `local X` may be the only declaration of X


def _names_set(command: str, arguments: list[str]) -> list[str]:
    """Return the names that a command sets."""
    if command in _SETTING:
        return [text for text in arguments if NAMES.fullmatch(text)]
    if command == "printf" and arguments[:1] == ["-v"]:
        return arguments[1:2]
    return []


def _tested(command: str, arguments: list[str]) -> list[str]:
    """Return the arguments of a command whose words are variable names."""
    is_test_of_name = command in _TESTING and "-v" in arguments
    return arguments if command in _NAMING or is_test_of_name else []
