"""What a shell script does with names, collected while it is read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

NAME = r"[A-Za-z_][A-Za-z0-9_]*"
NAMES = re.compile(NAME)
MENTIONED = re.compile(rf"\$\{{?[#!]?({NAME})")
"""A use of a name in text that may be expanded later, as by `eval`."""
_ASSIGNMENT = re.compile(rf"({NAME})\+?=")

_DECLARING = frozenset(("export", "readonly", "local", "declare", "typeset"))
_SETTING = frozenset(("unset", "read", "getopts", "mapfile", "readarray"))
_TESTING = frozenset(("[", "test"))
_NAMING = frozenset(("printenv", "[[", "let"))
"""Commands to which a name is a variable's without a dollar."""
_EVALUATING = frozenset(("eval", ".", "source", "trap"))


@dataclass(frozen=True, slots=True)
class Names:
    """What a script does with names."""

    used: frozenset[str]
    """Names whose value it uses, except for those that it has set itself by then."""
    words: frozenset[str]
    """Every word outside comments; some may be names of functions."""
    needed: frozenset[str] = frozenset()
    """Names that it uses where an unset one stops the shell (`set -u`)."""
    assigned: frozenset[str] = frozenset()
    """Names that it may set, or whose absence it provides for."""
    readable: bool = True
    """All that it runs was read: it sources no file and evaluates no text."""


class UnreadableScript(Exception):
    """The script is not one that the reader understands."""


@dataclass(slots=True)
class Word:
    """One word: its text without quotes and expansions, and whether any of it was quoted."""

    text: str = ""
    quoted: bool = False
    expands: bool = False
    """There are expansions in it."""


class Event(NamedTuple):
    """A name that is set for sure, or else used."""

    name: str
    is_set: bool


@dataclass(slots=True)
class NameNotes:
    """The names of a script, in the order in which they are read."""

    events: list[Event] = field(default_factory=list)
    needed: set[str] = field(default_factory=set)
    assigned: set[str] = field(default_factory=set)
    evaluates: bool = False
    """The script sources files or evaluates texts."""
    makes_up_names: bool = False
    uncertain: int = 0
    """How many constructs are open that may not run, or run in a process of their own."""

    def use(self, *names: str) -> None:
        """Note that the values of names are used."""
        self.events += [Event(name, False) for name in names]

    def set(self, names: Iterable[str]) -> None:
        """Note that names are set: for sure, unless a construct is open that may not run."""
        names = list(names)
        self.assigned.update(names)
        if self.uncertain == 0:
            self.events += [Event(name, True) for name in names]

    def forget_settings(self, first: int) -> None:
        """Let no event from the `first` on count as setting a name for sure."""
        self.events[first:] = [event for event in self.events[first:] if not event.is_set]

    def add(self, inner: NameNotes) -> None:
        """Add the notes of a script that runs in a process of its own."""
        self.events += [event for event in inner.events if not event.is_set]
        self.needed |= inner.needed
        self.assigned |= inner.assigned
        self.evaluates |= inner.evaluates
        self.makes_up_names |= inner.makes_up_names

    def used(self) -> frozenset[str]:
        """Return the names that are used before they are set."""
        set_before: set[str] = set()
        used: set[str] = set()
        for name, is_set in self.events:
            if is_set:
                set_before.add(name)
            elif name not in set_before:
                used.add(name)
        return frozenset(used)


def note_command(words: Sequence[Word], notes: NameNotes) -> None:
    """Note which names a simple command sets, and which it uses without a dollar."""
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
    """Remove the assignments that a command begins with; return the names that they set."""
    names = []
    while texts and (match := _ASSIGNMENT.match(texts[0])):
        names.append(match[1])
        texts.pop(0)
    return names


def _note_declarations(arguments: Iterable[str], notes: NameNotes) -> None:
    """Note the names that `export`, `local` and the like have for arguments."""
    for text in arguments:
        assignment = _ASSIGNMENT.match(text)
        if assignment:
            notes.set([assignment[1]])
        elif NAMES.fullmatch(text):
            notes.use(text)
            notes.assigned.add(text)  # `local X` may be all that there is of it


def _names_set(command: str, arguments: list[str]) -> list[str]:
    """Return the names that a command sets."""
    if command in _SETTING:
        return [text for text in arguments if NAMES.fullmatch(text)]
    if command == "printf" and arguments[:1] == ["-v"]:
        return arguments[1:2]
    return []


def _tested(command: str, arguments: list[str]) -> list[str]:
    """Return the arguments of a command in which each name is a variable's."""
    is_test_of_name = command in _TESTING and "-v" in arguments
    return arguments if command in _NAMING or is_test_of_name else []
