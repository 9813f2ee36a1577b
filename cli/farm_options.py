"""Options that commands for farms share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

CredentialsOption = Annotated[
    Path | None,
    typer.Option(
        "--credentials",
        metavar="DIR",
        help="The farm's certificates. Default: ~/.config/prov/farm.",
    ),
]


def credentials_folder(option: Path | None) -> Path:
    """Return the folder of the option, or the default."""
    if option is not None:
        return option.absolute()
    top = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(top) / "prov" / "farm"
