"""Tests of the names in one simple command."""

from __future__ import annotations

import pytest

from prov.recipes.shell_names import Event, NameNotes, Word, note_command


def notes(command: str, *, expanding: str = "", uncertain: int = 0) -> NameNotes:
    """Return the notes of a command of bare words; words in `expanding` contain expansions."""
    taken = NameNotes(uncertain=uncertain)
    words = [Word(text, expands=text in expanding.split()) for text in command.split()]
    note_command(words, taken)
    return taken


def names(taken: NameNotes) -> tuple[str, str, str]:
    """Return the names that are certainly set, used, and possibly set."""
    set_names = " ".join(event.name for event in taken.events if event.is_set)
    used_names = " ".join(event.name for event in taken.events if not event.is_set)
    return set_names, used_names, " ".join(sorted(taken.assigned))


@pytest.mark.parametrize(
    ("command", "set_names", "used_names", "assigned"),
    [
        ("", "", "", ""),
        ("make X", "", "", ""),
        ("X=1", "X", "", "X"),
        ("X=1 Y+=2", "X Y", "", "X Y"),
        ("X=1 make", "", "", "X"),
        ("make X=1", "", "", ""),
        ("2X=1", "", "", ""),
        ("read -r X Y", "X Y", "", "X Y"),
        ("unset X", "X", "", "X"),
        ("getopts ab: option", "option", "", "option"),
        ("mapfile LINES", "LINES", "", "LINES"),
        ("printf -v X %s", "X", "", "X"),
        ("printf %s X", "", "", ""),
        ("export X", "", "X", "X"),
        ("export X=1 Y", "X", "Y", "X Y"),
        ("local -r X", "", "X", "X"),
        ("printenv X", "", "X", ""),
        ("let X+=Y", "", "X Y", ""),
        ("[ -v X ]", "", "v X", ""),
        ("[ -n X ]", "", "", ""),
        ("test -v X", "", "v X", ""),
    ],
)
def test_a_command(command: str, set_names: str, used_names: str, assigned: str) -> None:
    assert names(notes(command)) == (set_names, used_names, assigned)


def test_a_command_that_may_not_run_sets_nothing_for_certain() -> None:
    assert names(notes("X=1", uncertain=1)) == ("", "", "X")
    assert names(notes("read X", uncertain=2)) == ("", "", "X")


@pytest.mark.parametrize("command", ["eval x", ". file", "source file", "trap x EXIT"])
def test_a_command_that_evaluates(command: str) -> None:
    assert notes(command).evaluates
    assert not notes(f"echo {command}").evaluates


@pytest.mark.parametrize(
    ("command", "expanding", "makes_up"),
    [
        ("export X", "X", True),
        ("printenv X", "X", True),
        ("export X=1", "X=1", False),
        ("echo X", "X", False),
        ("export X", "", False),
    ],
)
def test_a_command_that_computes_names(command: str, expanding: str, makes_up: bool) -> None:
    assert notes(command, expanding=expanding).makes_up_names is makes_up


def test_a_use_counts_until_the_name_is_set() -> None:
    taken = NameNotes()
    taken.use("X", "Y")
    taken.set(["X", "Z"])
    taken.use("X", "Z")
    assert taken.used() == {"X", "Y"}


def test_settings_can_be_forgotten() -> None:
    taken = NameNotes()
    taken.set(["A"])
    taken.set(["B"])
    taken.use("C")
    taken.forget_settings(1)
    assert taken.events == [Event("A", True), Event("C", False)]
    assert taken.assigned == {"A", "B"}


def test_a_script_in_a_separate_process_sets_nothing_here() -> None:
    taken, inner = NameNotes(), NameNotes(evaluates=True)
    inner.set(["X"])
    inner.use("Y")
    inner.needed.add("Y")
    taken.add(inner)
    assert taken.events == [Event("Y", False)]
    assert (taken.needed, taken.assigned, taken.evaluates) == ({"Y"}, {"X"}, True)
    assert not taken.makes_up_names
