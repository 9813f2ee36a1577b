"""Sections that the manual and the site share: exit codes, environment and files, from docs/."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .page import Rows, Text

DOCS = Path(__file__).parents[2] / "docs"
SHARED = {
    "EXIT STATUS": "exit-codes.md",
    "ENVIRONMENT": "environment.md",
    "FILES": "files.md",
}
"""Section of prov(1) -> its page in docs/."""


@dataclass(frozen=True, slots=True)
class Heading:
    """A section's heading on a page."""

    title: str


Block = Heading | Text | Rows


def read_page(name: str) -> list[Block]:
    """Return the blocks of a page below its title and its first paragraph, the introduction.

    A table has two columns: term and text.
    """
    text = (DOCS / name).read_text().split("\n\n", 2)[2]
    return list(_blocks(re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)))


def _blocks(text: str) -> Iterator[Block]:
    for block in re.split(r"\n\n+", text.strip()):
        lines = block.splitlines()
        if block.startswith("#"):
            yield Heading(block.lstrip("# "))
        elif block.startswith("|"):
            yield [_row(line) for line in lines[2:]]
        elif block.startswith("```"):
            yield Text(tuple(lines[1:-1]), literal=True)
        else:
            yield Text(tuple(lines))


def _row(line: str) -> tuple[str, str]:
    term, text = re.split(r"(?<!\\)\|", line.strip("| "), maxsplit=1)
    return term.strip(), text.strip().replace("\\|", "|")
