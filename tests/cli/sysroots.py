"""Commands on a project whose outputs conflict, contain paths, or have a postinst script."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.commands import run_prov
from tests.trees import describe

Compose = Callable[..., subprocess.CompletedProcess[str]]


RECIPES = {
    "left": (
        "echo left > $D/usr/share/same; echo 1 > $D/usr/share/left; ln $D/usr/share/left"
        " $D/usr/share/left2"
    ),
    "right": (
        "echo right > $D/usr/share/same; echo 2 > $D/usr/share/right; ln -s right $D/usr/share/link"
    ),
    "text": (
        'echo "dir=$RECIPE_SYSROOT/usr/lib; work=$WORKDIR;" > $D/usr/share/text; echo x >'
        " $D/usr/share/plain"
    ),
    "held": 'printf "x\\0%s\\0y" "$WORKDIR" > $D/usr/share/data',
    "index": (
        "mkdir $D/usr/bin; p=$D/usr/bin/postinst-index; echo '#!/bin/sh' > $p; chmod 755 $p\n"
        "echo 'ls usr/share > usr/share/index' >> $p"
    ),
}


def run(*arguments: str, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = run_prov(*arguments, cwd=cwd)
    assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def sandbox() -> str:
    command = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "true"]
    usable = shutil.which("bwrap") and subprocess.run(command, capture_output=True).returncode == 0
    return "bwrap" if usable else "none"


def staged(name: str) -> str:
    return f"{name}:populate_sysroot"


def listed(directory: Path) -> list[str]:
    return sorted(
        str(path.relative_to(directory)) for path in directory.rglob("*") if not path.is_dir()
    )


def seen(directory: Path) -> dict[bytes, tuple[Any, ...]]:
    """Return the state of each path without its hardlinks; skip the file with the root's path."""
    return {path: row[:4] for path, row in describe(directory).items() if path != b"usr/share/text"}


HELLO = ["greet:populate_sysroot", "words:populate_sysroot", "embed-native:populate_sysroot"]
