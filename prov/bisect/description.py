"""The end of a bisection in words."""

from __future__ import annotations

from collections.abc import Iterable

from prov.bisect.session import Answer
from prov.history.causes import SAME_INPUTS, CauseGroup
from prov.store.repository import Store
from prov.text import few


def describe(store: Store, answer: Answer) -> str:
    """Return the end of a bisection in one sentence."""
    since = f"build {answer.bad.hex()[:12]}"
    if answer.between:
        which = "the one" if answer.between == 1 else f"one of the {answer.between}"
        since = f"{since}, or {which} before it that could not be told,"
    if not answer.causes:
        return f"{since} is the first bad one, and no recorded change of an input explains it"
    words = _and(_cause(store, each) for each in answer.causes)
    if not answer.apart:
        return f"{since.rstrip(',')} is the first bad one; one or more of these broke it: {words}"
    together = (
        f", together with {_and(_cause(store, each) for each in answer.earlier)}"
        if answer.earlier
        else ""
    )
    number = f"{answer.untold} combination{'' if answer.untold == 1 else 's'}"
    untold = f"; {number} could not be built, so that fewer changes may do" if answer.untold else ""
    return f"{words} broke it in {since.rstrip(',')}{together}{untold}"


def _cause(store: Store, each: CauseGroup) -> str:
    return f"that {each.title}" if each.change.kind == SAME_INPUTS else describe_cause(store, each)


def describe_cause(store: Store, each: CauseGroup) -> str:
    """Return what a change is, and of which tasks."""
    if each.change.kind == SAME_INPUTS:
        return each.title
    return f"{each.title}{commits_of(store, each)} in {few(each.tasks)}"


def commits_of(store: Store, each: CauseGroup) -> str:
    """Return the range of commits where a git source changed, as words; nothing for all else."""
    change = each.change
    if change.kind != "source" or change.old is None or change.new is None:
        return ""
    old, new = (store.objects.read(entry.oid)[1] for entry in (change.old, change.new))
    if not (old.startswith(b"git ") and new.startswith(b"git ")):
        return ""
    first = old[4:].decode("utf-8", "replace").strip()
    last = new[4:].decode("utf-8", "replace").strip()
    return f" (commits {first}..{last})"


def _and(words: Iterable[str]) -> str:
    *first, last = list(words)
    return f"{', '.join(first)} and {last}" if first else last
