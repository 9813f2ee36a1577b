"""The configuration that docs/servers.md gives to users, made fit for a test: other paths, other
ports.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "servers.md"


def block(heading: str, language: str, changes: Mapping[str, str]) -> str:
    """Return the first block in a language under a heading, `changes` made: each old text must be
    there.
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
    # All at once: what is put in may have in it what is to be replaced.
    return (
        re.sub("|".join(map(re.escape, changes)), lambda match: changes[match[0]], text)
        if changes
        else text
    )


def command(heading: str, start: str, changes: Mapping[str, str]) -> list[str]:
    """Return the words of the command that begins so, in the first console under a heading."""
    lines = block(heading, "console", changes).replace("\\\n", " ").splitlines()
    (line,) = [line for line in lines if line.startswith(f"$ {start}")]
    return shlex.split(line.removeprefix("$ "))
