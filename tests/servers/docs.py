"""The configuration in docs/servers.md, changed for a test: other paths and ports."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "servers.md"


def block(heading: str, language: str, changes: Mapping[str, str]) -> str:
    """Return the first block in a language below a heading, with `changes` applied. Every old text
    must occur in the block.
    """
    section = re.search(
        rf"^## {re.escape(heading)}$(.*?)(?=^## |\Z)", PAGE.read_text(), re.DOTALL | re.MULTILINE
    )
    assert section, f"{PAGE.name} has no section {heading!r}"
    found = re.search(rf"^```{language}\n(.*?)^```$", section[1], re.DOTALL | re.MULTILINE)
    assert found, f"{heading!r} in {PAGE.name} has no block of {language}"
    text = found[1]
    for old in changes:
        assert old in text, f"{heading!r} in {PAGE.name} does not say {old!r}"
    # Replace all at once: a replacement may contain another old text.
    return (
        re.sub("|".join(map(re.escape, changes)), lambda match: changes[match[0]], text)
        if changes
        else text
    )


def command(heading: str, start: str, changes: Mapping[str, str]) -> list[str]:
    """Return the words of the command that begins with `start` in a section's first console."""
    lines = block(heading, "console", changes).replace("\\\n", " ").splitlines()
    (line,) = [line for line in lines if line.startswith(f"$ {start}")]
    return shlex.split(line.removeprefix("$ "))
