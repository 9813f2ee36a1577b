"""Collect what a traced command used, by the paths before the command."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from prov.reads.reads import COMPLETE, Read, Reads, incomplete


@dataclass(slots=True)
class Use:
    """The uses of one path."""

    kinds: set[str] = field(default_factory=set)
    programs: set[bytes] = field(default_factory=set)
    exclusive: bool = False
    """Whether the command created it by a call that fails if the path exists."""


@dataclass(slots=True)
class Trace:
    """What a command used, and why uses may be missing."""

    uses: dict[bytes, Use] = field(default_factory=dict)
    """By the paths before the command."""
    opens: str = ""
    """Why opened files may be missing from the trace; empty if it is complete."""
    probes: str = ""
    """Why other influences on the command may be missing; empty if there are none."""

    def add(self, origin: bytes, kinds: str, program: bytes) -> None:
        """Add uses of a path by a program."""
        use = self.uses.setdefault(origin, Use())
        use.kinds.update(kinds)
        if program:
            use.programs.add(program)

    def hide(self, why: str) -> None:
        """Note that the trace can lack any use; the first reason stays."""
        self.opens = self.opens or why
        self.doubt(why)

    def doubt(self, why: str) -> None:
        """Note an influence on the command other than a use of a path; the first one stays."""
        self.probes = self.probes or why

    def reads(self) -> Reads:
        """Return the list for a record, without states."""
        rows = [
            Read(
                os.fsdecode(path),
                "".join(sorted(use.kinds)),
                programs=tuple(sorted(map(os.fsdecode, use.programs))),
            )
            for path, use in self.uses.items()
        ]
        return Reads.of(rows, completeness(self.opens), completeness(self.probes))


def completeness(why: str) -> str:
    """Return the completeness of a list, from the reason why uses are missing."""
    return incomplete(why) if why else COMPLETE
