"""The layer's place, and what a build directory needs to use it: a layer in bblayers.conf, two lines in local.conf."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from prov.errors import BitBakeError
from prov.files import replace_file

BEGIN = "# prov: begin (`prov bitbake setup --undo` takes this out)"
END = "# prov: end"
_BLOCK = re.compile(rf"\n?{re.escape(BEGIN)}\n.*?{re.escape(END)}\n", re.DOTALL)


def layer() -> Path:
    """Return the folder of the layer, as BBLAYERS has it."""
    return Path(__file__).parent / "layer"


def _program() -> str:
    """Return the program that the layer starts: the one beside the Python that runs now."""
    beside = Path(sys.executable).with_name("prov")
    return str(beside) if beside.exists() else "prov"


def blocks() -> dict[str, str]:
    """Return file -> what is added to it, in a build directory."""
    texts = {
        "conf/bblayers.conf": f'BBLAYERS += "{layer()}"',
        "conf/local.conf": f'INHERIT += "prov"\nPROV_COMMAND = "{_program()}"',
    }
    return {path: f"\n{BEGIN}\n{text}\n{END}\n" for path, text in texts.items()}


def _read(builddir: Path) -> dict[str, str]:
    found = {}
    for name in blocks():
        path = builddir / name
        try:
            found[name] = path.read_bytes().decode(errors="surrogateescape")
        except OSError as error:
            raise BitBakeError(
                f"{path}: {error.strerror}", hint="name a build directory, as oe-init-build-env makes one"
            ) from error
    return found


def set_up(builddir: Path) -> list[str]:
    """Let a build directory use the layer; return the files that were changed. Doing it again brings it up to date."""
    changed = []
    for name, text in _read(builddir).items():
        wanted = _BLOCK.sub("", text) + blocks()[name]
        if wanted != text:
            _write(builddir / name, wanted)
            changed.append(name)
    return changed


def undo(builddir: Path) -> list[str]:
    """Take out what `set_up` added; return the files that were changed."""
    changed = []
    for name, text in _read(builddir).items():
        wanted = _BLOCK.sub("", text)
        if wanted != text:
            _write(builddir / name, wanted)
            changed.append(name)
    return changed


def _write(path: Path, text: str) -> None:
    """Replace a configuration file, a link to one being followed, with the mode that it had."""
    real = path.resolve()
    mode = real.stat().st_mode & 0o7777
    replace_file(real, text.encode(errors="surrogateescape"))
    real.chmod(mode)
