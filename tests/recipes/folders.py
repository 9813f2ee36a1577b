"""Write small projects to disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from prov.recipes.project import Project

BASE = {"classes/base.toml": ""}
"""An empty class `base`, so that recipes contain only the tasks that a test defines."""


def write(root: Path, files: Mapping[str, str]) -> None:
    """Write texts to files, by path below a folder."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def load(
    root: Path, files: Mapping[str, str], overrides: Mapping[str, str] | None = None
) -> Project:
    """Write files and load their project.

    A name without a folder or a suffix stands for a recipe; its version may be omitted.
    """
    recipes = {
        f"recipes/{name}.toml": text if "version" in text else f'version = "1"\n{text}'
        for name, text in files.items()
        if "/" not in name and "." not in name
    }
    others = {name: text for name, text in files.items() if "/" in name or "." in name}
    write(root, {**BASE, **recipes, **others})
    return Project.load(root, overrides=overrides)
