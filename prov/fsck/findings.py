"""What the checks of a store tell, and what the name of a ref says: the namespace of docs/store.md,
as patterns.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, NamedTuple

from prov.records.keys import TaskKey
from prov.store.objects import Oid

Kind = Literal[
    "pack", "object", "ref", "run number", "build", "pool", "sysroot", "cache", "leftover", "store"
]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as it should be."""

    kind: Kind
    where: str
    """A ref, an id, or a path below the store."""
    what: str
    needed_by: tuple[str, ...] = ()
    """Refs that hold it."""
    repair: str = ""
    """What `--repair` does about it."""
    harmless: bool = False
    """Nothing depends on it: a leftover, a cache."""


class RefName(NamedTuple):
    """What a ref's name says."""

    kind: str
    """run, failed, outside, output, static, cleaned, workdir, deployed, toolchain, record, label,
    pin, aside or builds.
    """
    key: TaskKey = TaskKey("")
    """RECIPE:TASK, where it is a task's."""
    oid: Oid = b""
    """The id in the name."""
    number: int = 0
    prefix: str = ""
    """Of one with a number: all before it."""


_HASH, _PART = r"(?P<oid>[0-9a-f]{40})", r"[^/]+"
_TASK, _NUMBER = rf"(?P<recipe>{_PART})/(?P<task>{_PART})", r"/(?P<number>[1-9][0-9]*)"
_PATTERNS = [
    (kind, re.compile(pattern))
    for kind, pattern in (
        ("failed", rf"refs/tags/failed/{_TASK}/{_HASH}{_NUMBER}"),
        ("outside", rf"refs/tags/outside/{_PART}/{_PART}/{_PART}{_NUMBER}"),
        ("run", rf"refs/tags/(?!failed/|outside/){_TASK}/{_HASH}{_NUMBER}"),
        ("output", rf"refs/prov/output/{_TASK}/{_HASH}"),
        ("static", rf"refs/prov/static/{_TASK}/{_HASH}"),
        ("cleaned", rf"refs/prov/cleaned/{_TASK}/{_HASH}"),
        ("workdir", rf"refs/prov/workdir/(plain/[0-9a-f]{{40}}|(?!plain/){_PART}/{_PART}/{_PART})"),
        ("deployed", r"refs/prov/deploy(ed|ing)"),
        ("toolchain", rf"refs/prov/toolchain/{_HASH}"),
        ("record", rf"refs/prov/record/{_TASK}/{_HASH}{_NUMBER}"),
        ("label", rf"refs/prov/label/{_PART}"),
        ("pin", rf"refs/prov/pin/{_HASH}"),
        ("aside", rf"refs/prov/aside/{_PART}/{_PART}/{_PART}/{_PART}"),
        ("builds", r"refs/heads/builds"),
    )
]
_ANONYMOUS = [re.sub("[?]P<[a-z]+>", "?:", pattern.pattern) for _, pattern in _PATTERNS]
_ALL = re.compile("|".join(f"(?P<k{number}>{text})" for number, text in enumerate(_ANONYMOUS)))


def parse_ref(name: str) -> RefName | None:
    """Return what a ref's name says, None for one that is not prov's."""
    which = _ALL.fullmatch(name)
    if which is None or which.lastgroup is None:
        return None
    kind, pattern = _PATTERNS[int(which.lastgroup[1:])]
    match = pattern.fullmatch(name)
    assert match is not None  # it is one of the alternatives
    told = match.groupdict()
    key = f"{told['recipe']}:{told['task']}" if "recipe" in told else ""
    number = told.get("number")
    prefix = name.rpartition("/")[0] if number else ""
    return RefName(kind, TaskKey(key), bytes.fromhex(told.get("oid", "")), int(number or 0), prefix)
