"""The result of one check of `prov doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How serious a finding is."""

    OK = "ok"
    WARNING = "warning"
    """prov works, but more slowly or with less protection."""
    ERROR = "error"
    """Builds or transfers fail."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a check."""

    subject: str
    """git, sandbox, disk, …"""
    state: State
    text: str
    advice: str = ""
    """What to do; empty if the state is ok."""
