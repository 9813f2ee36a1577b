"""The tests that docs/security.md names exist."""

from __future__ import annotations

import re
from pathlib import Path

TOP = Path(__file__).parents[2]


def test_every_test_that_the_page_names_exists() -> None:
    page = (TOP / "docs/security.md").read_text()
    folder, named = "", []
    for name in re.findall(r"`((?:tests/[\w/]*)?test_\w+\.py|tests/\w+)`", page):
        folder = name.rpartition("/")[0] if name.startswith("tests/") else folder
        named.append(name if name.startswith("tests/") else f"{folder}/{name}")
    assert len(named) > 25
    assert [name for name in named if not (TOP / name).exists()] == []
