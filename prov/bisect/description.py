"""Describe the answer of a bisection."""

from __future__ import annotations

from collections.abc import Iterable

from prov.bisect.changes import is_unexplained
from prov.bisect.session import Answer
from prov.history.causes import CauseGroup
from prov.store.repository import Store
from prov.text import count_text, few


def describe(store: Store, answer: Answer) -> str:
    """Return the answer of a bisection in one sentence."""
    first_bad = _first_bad(answer)
    if not answer.causes:
        return f"{first_bad} is the first bad build; no recorded input change explains it"
    causes = _and(_cause(store, group) for group in answer.causes)
    build = first_bad.rstrip(",")
    if not answer.isolated:
        return f"{build} is the first bad build; one or more of these broke it: {causes}"
    return f"{causes} broke it in {build}{_together(store, answer)}{_unbuilt(answer)}"


def _first_bad(answer: Answer) -> str:
    build = f"build {answer.bad.hex()[:12]}"
    if not answer.between:
        return build
    others = "the build" if answer.between == 1 else f"one of the {answer.between} builds"
    return f"{build}, or {others} before it that could not be judged,"


def _together(store: Store, answer: Answer) -> str:
    if not answer.earlier:
        return ""
    return f", together with {_and(_cause(store, group) for group in answer.earlier)}"


def _unbuilt(answer: Answer) -> str:
    if not answer.unbuilt:
        return ""
    number = count_text(answer.unbuilt, "combination")
    return f"; {number} could not be built, so fewer changes may be enough"


def _cause(store: Store, group: CauseGroup) -> str:
    if is_unexplained(group):
        return f"a different output of {group.tasks[0]} from identical inputs"
    return describe_cause(store, group)


def describe_cause(store: Store, group: CauseGroup) -> str:
    """Return a change and its tasks as text."""
    if is_unexplained(group):
        return group.title
    commits = commits_of(store, group)
    range_ = f" (commits {commits})" if commits else ""
    return f"{group.title}{range_} in {few(group.tasks)}"


def commits_of(store: Store, group: CauseGroup) -> str:
    """Return `OLD..NEW`, the commits of a changed git source; empty for other changes."""
    change = group.change
    if change.kind != "source" or change.old is None or change.new is None:
        return ""
    old, new = (store.objects.read(entry.oid)[1] for entry in (change.old, change.new))
    if not (old.startswith(b"git ") and new.startswith(b"git ")):
        return ""
    first = old[4:].decode("utf-8", "replace").strip()
    last = new[4:].decode("utf-8", "replace").strip()
    return f"{first}..{last}"


def _and(words: Iterable[str]) -> str:
    *first, last = list(words)
    return f"{', '.join(first)} and {last}" if first else last
