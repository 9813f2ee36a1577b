"""The list of what a task read: a text in the task's record, part of no hash.

    opens complete
    probes not recorded
    toolchain complete
                                            an empty line ends the facts
    KINDS<TAB>PATH<TAB>STATE<TAB>PROGRAM…

The rows are sorted by path. KINDS are letters of KINDS below. PATH is absolute, as the task saw it,
or relative to the directory of a command (`..` for a folder above it). STATE is the state that the
task saw, if it was recorded: `prov.reads.state` defines it. A PROGRAM is the path of a program that
used the path, if it was recorded. Backslashes and characters that are not printable ASCII are
escaped as in Python's string literals.

`opens` covers opened, executed and listed files, `probes` all other lookups: failed ones, uses of
`stat`, and symbolic links on the way. For a recipe's task, both are about its WORKDIR, its sysroots
and its direct packages; `toolchain` states whether the kinds of use that they cover are also
complete for the host tools. Each is `complete`, `not recorded`, or `incomplete: ` and the reason.
Nothing follows from the absence of a path in an incomplete list. `opens` can also be `incomplete
outside the sysroots: ` and the reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from prov.errors import CHECK_STORE, StoreError

KINDS: Final[Mapping[str, str]] = {
    "o": "opened",
    "x": "executed",
    "d": "listed",
    "s": "stat",
    "l": "symlink",
    "m": "missing",
    "w": "written",
    "*": "shared",
}
"""Letters of uses and their names.

`missing`: looked for and not found. `written`: created or changed by the task itself before it read
the path. `shared`: the use may be that of a different task that ran at the same time, or prov's.
"""
COMPLETE = "complete"
NOT_RECORDED = "not recorded"
INCOMPLETE = "incomplete"
_OUTSIDE_SYSROOTS = "incomplete outside the sysroots"
_FACTS = ("opens", "probes", "toolchain")


def incomplete(reason: str) -> str:
    """Return the completeness of a list from which uses may be missing."""
    return f"{INCOMPLETE}: {reason}"


def incomplete_outside_sysroots(reason: str) -> str:
    """Return the completeness of a list that contains all opens of paths in the sysroots."""
    return f"{_OUTSIDE_SYSROOTS}: {reason}"


@dataclass(frozen=True, slots=True, order=True)
class Read:
    """The uses of one path."""

    path: str
    kinds: str
    """Letters of KINDS, sorted."""
    state: str = ""
    programs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reads:
    """What a task read, sorted by path."""

    rows: tuple[Read, ...]
    opens: str = COMPLETE
    probes: str = NOT_RECORDED
    toolchain: str = COMPLETE

    @staticmethod
    def of(
        rows: Iterable[Read],
        opens: str = COMPLETE,
        probes: str = NOT_RECORDED,
        toolchain: str = COMPLETE,
    ) -> Reads:
        """Return the list of these rows; rows with the same path become one."""
        by_path: dict[str, Read] = {}
        for row in rows:
            other = by_path.get(row.path)
            by_path[row.path] = row if other is None else _joined(other, row)
        return Reads(tuple(by_path[path] for path in sorted(by_path)), opens, probes, toolchain)

    @property
    def is_complete(self) -> bool:
        """Whether no use of any kind is missing from the list."""
        return {self.opens, self.probes, self.toolchain} == {COMPLETE}

    @property
    def has_opens_of_sysroots(self) -> bool:
        """Whether no opened, executed or listed path in the sysroots is missing from the list."""
        return self.opens == COMPLETE or self.opens.startswith(f"{_OUTSIDE_SYSROOTS}: ")

    @property
    def problem(self) -> str:
        """Why uses or other influences may be missing; empty for a complete list."""
        for state in (self.opens, self.probes, self.toolchain):
            if state != COMPLETE:
                return state.removeprefix(f"{INCOMPLETE}: ")
        return ""

    def encode(self) -> bytes:
        """Return the list as the text in a record."""
        facts = "".join(f"{name} {getattr(self, name)}\n" for name in _FACTS)
        rows = "".join(f"{_line(row)}\n" for row in self.rows)
        return f"{facts}\n{rows}".encode("ascii")


def _joined(one: Read, other: Read) -> Read:
    kinds = "".join(sorted({*one.kinds, *other.kinds}))
    programs = tuple(sorted({*one.programs, *other.programs}))
    return Read(one.path, kinds, one.state or other.state, programs)


def _line(row: Read) -> str:
    return "\t".join((row.kinds, *map(_escaped, (row.path, row.state, *row.programs))))


def _escaped(text: str) -> str:
    return text.encode("unicode_escape").decode("ascii")


def _unescaped(text: str) -> str:
    return text.encode("ascii").decode("unicode_escape")


def decode_reads(data: bytes) -> Reads:
    """Parse the text in a record. Raises StoreError."""
    try:
        facts, _, rows = data.decode("ascii").partition("\n\n")
        values = dict(line.partition(" ")[::2] for line in facts.rstrip("\n").split("\n"))
        opens, probes, toolchain = (values[name] for name in _FACTS)
        return Reads(tuple(map(_read, rows.splitlines())), opens, probes, toolchain)
    except (ValueError, KeyError) as error:
        raise StoreError(
            f"invalid list of reads in a record: {error}",
            hint=CHECK_STORE,
        ) from error


def _read(line: str) -> Read:
    kinds, path, state, *programs = line.split("\t")
    if not kinds or not kinds.isascii() or not KINDS.keys() >= set(kinds):
        raise ValueError(f"unknown kinds {kinds[:20]!r}")
    return Read(_unescaped(path), kinds, _unescaped(state), tuple(map(_unescaped, programs)))
