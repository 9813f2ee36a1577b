"""Projects of one task, as files."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

Prov = Callable[..., subprocess.CompletedProcess[str]]


def write(root: Path, recipe: str, name: str = "a", settings: str = 'sandbox = "none"\n') -> None:
    (root / "recipes").mkdir(exist_ok=True)
    (root / "prov.toml").write_text(
        settings + '[variables]\nHOSTTOOLS = "sh cat cp mkdir rm sleep touch date ln"\n'
    )
    (root / "recipes" / f"{name}.toml").write_text(recipe)


def one_task(script: str, more: str = "") -> str:
    return (
        "version = '1'\nbuild = ['go']\n[tasks.go]\noutputdir = 'out'\nscript ="
        f" '''{script}'''\n{more}"
    )
