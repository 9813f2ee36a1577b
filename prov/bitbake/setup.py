"""Add the layer to a build directory: one line in bblayers.conf and two lines in local.conf.

The releases of BitBake and OpenEmbedded-Core that the build directory uses are checked before
anything is written, if bblayers.conf contains their paths.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from prov.errors import BitBakeError
from prov.files import replace_file

_MARK = "# prov: begin"
BEGIN = f"{_MARK} (`prov bitbake setup --undo` removes these lines)"
END = "# prov: end"
OLDEST = (2, 8)
"""Oldest supported BitBake release."""
_BLOCK = re.compile(rf"\n?{re.escape(_MARK)}\b[^\n]*\n.*?{re.escape(END)}\n", re.DOTALL)


def layer() -> Path:
    """Return the path of the layer for BBLAYERS."""
    return Path(__file__).parent / "layer"


def is_build(folder: Path) -> bool:
    """Return whether a folder is a BitBake build directory that prov records.

    Such a directory has a store, or the layer's lines in local.conf.
    """
    try:
        if not (folder / "conf/bblayers.conf").is_file():
            return False
        return (folder / ".prov").is_dir() or _MARK.encode() in (
            folder / "conf/local.conf"
        ).read_bytes()
    except OSError:
        return False


def check_release(builddir: Path, bitbake: str | None = None) -> None:
    """Raise BitBakeError if a build directory uses a release that the layer does not support.

    `bitbake` is the path of the user's bitbake program, if known. The program next to the layers
    takes precedence.
    """
    layers = list(_layers(builddir))
    series = next(filter(None, map(_series, layers)), None)
    programs = [layer.parent / "bitbake/bin/bitbake" for layer in layers]
    programs += [Path(os.path.realpath(bitbake))] if bitbake else []
    version = next(filter(None, map(_version, programs)), None)
    supported = _assigned(layer() / "conf/layer.conf", "LAYERSERIES_COMPAT_prov").split()
    old = version is not None and version[:2] < OLDEST
    if not old and (series is None or set(series) & set(supported)):
        return
    words = [f"BitBake {'.'.join(map(str, version))}"] if version else []
    words += [f"OpenEmbedded {' '.join(series)}"] if series else []
    raise BitBakeError(
        f"{builddir}: {' with '.join(words)} is not supported",
        hint=(
            f"use BitBake {OLDEST[0]}.{OLDEST[1]} or newer with one of the OpenEmbedded releases"
            f" {', '.join(supported)}"
        ),
    )


def _layers(builddir: Path) -> Iterator[Path]:
    """Yield the layers in bblayers.conf whose paths can be read without BitBake."""
    text = re.sub(r"^\s*#.*$", "", _read(builddir)["conf/bblayers.conf"], flags=re.MULTILINE)
    values = dict(re.findall(r'^\s*(\w+)\s*\??=\s*"([^"$]*)"', text, re.MULTILINE)) | {
        "TOPDIR": str(builddir.absolute())
    }
    for _ in range(3):  # values may refer to other variables
        text = re.sub(r"\$\{(\w+)\}", lambda match: values.get(match[1], match[0]), text)
    for word in re.findall(r"/[^\s\"'\\]+", text):
        path = Path(word)
        if (path / "conf/layer.conf").is_file():
            yield path
        elif (path / "meta/conf/layer.conf").is_file():
            yield path / "meta"


def _series(layer: Path) -> list[str]:
    """Return the release names of a core layer, none for any other layer."""
    return _assigned(layer / "conf/layer.conf", "LAYERSERIES_CORENAMES").split()


def _assigned(path: Path, name: str) -> str:
    match = re.search(rf'^\s*{name}\s*[?+.:]*=\s*"([^"]*)"', _text(path), re.MULTILINE)
    return match[1] if match else ""


def _version(program: Path) -> tuple[int, ...] | None:
    """Return the version in the text of a bitbake program, or None if it has none."""
    match = re.search(r'^__version__ = "(\d+(?:\.\d+)+)"', _text(program), re.MULTILINE)
    return tuple(map(int, match[1].split("."))) if match else None


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _program() -> str:
    """Return the program that the layer starts: `prov` next to the running Python."""
    beside = Path(sys.executable).with_name("prov")
    return str(beside) if beside.exists() else "prov"


def blocks() -> dict[str, str]:
    """Return the lines to add to each configuration file of a build directory."""
    texts = {
        "conf/bblayers.conf": f'BBLAYERS += "{layer()}"',
        "conf/local.conf": f'INHERIT += "prov"\nPROV_COMMAND = "{_program()}"',
    }
    return {path: f"\n{BEGIN}\n{text}\n{END}\n" for path, text in texts.items()}


def _read(builddir: Path) -> dict[str, str]:
    texts = {}
    for name in blocks():
        path = builddir / name
        try:
            texts[name] = path.read_bytes().decode(errors="surrogateescape")
        except OSError as error:
            raise BitBakeError(
                f"{path}: {error.strerror}",
                hint="name a build directory made by `oe-init-build-env`",
            ) from error
    return texts


def set_up(builddir: Path, bitbake: str | None = None) -> list[str]:
    """Add the layer to a build directory, or update its lines. Return the changed files.

    Raises BitBakeError, before anything is written, if a release is not supported.
    """
    check_release(builddir, bitbake)
    changed = []
    for name, text in _read(builddir).items():
        updated = _BLOCK.sub("", text) + blocks()[name]
        if updated != text:
            _write(builddir / name, updated)
            changed.append(name)
    return changed


def undo(builddir: Path) -> list[str]:
    """Remove the lines that `set_up` added. Return the changed files."""
    changed = []
    for name, text in _read(builddir).items():
        updated = _BLOCK.sub("", text)
        if updated != text:
            _write(builddir / name, updated)
            changed.append(name)
    return changed


def _write(path: Path, text: str) -> None:
    """Replace a configuration file. Follows a symlink to it, and keeps the file's mode."""
    real = path.resolve()
    mode = real.stat().st_mode & 0o7777
    replace_file(real, text.encode(errors="surrogateescape"))
    real.chmod(mode)
