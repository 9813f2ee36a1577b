"""Projects on disk, made of a few texts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from prov.recipes.project import Project

BASE = {"classes/base.toml": ""}
"""An empty class `base`, so that a recipe has only the tasks that a test gives it."""


def write(root: Path, files: Mapping[str, str]) -> None:
    """Write files by their path below a folder."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def load(
    root: Path, files: Mapping[str, str], overrides: Mapping[str, str] | None = None
) -> Project:
    """Return the project that files make.

    A name without a folder or an ending is a recipe of that name: its version need not be given.
    """
    recipes = {
        f"recipes/{name}.toml": text if "version" in text else f'version = "1"\n{text}'
        for name, text in files.items()
        if "/" not in name and "." not in name
    }
    others = {name: text for name, text in files.items() if "/" in name or "." in name}
    write(root, {**BASE, **recipes, **others})
    return Project.load(root, overrides=overrides)
