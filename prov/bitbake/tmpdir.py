"""Find the TMPDIRs of the user's build. Paths from a record are used only inside these folders.

A record may come from another machine, or from an attacker. The build directory, which belongs to
the user, determines where WORKDIRs and stamps can be; a record only selects one of them. Symlinks
are resolved before a path is compared.

A TMPDIR is `tmp*` in the build directory, the folder that OpenEmbedded's sanity check wrote to
`cache/sanity_info`, or a folder named by the user. A TMPDIR that is outside the build directory and
not named by the user must contain `saved_tmpdir`, a file of the same check, with its own path. A
build directory from another origin can therefore not select other folders.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from prov.errors import FORGET_RUN, BitBakeError
from prov.records.keys import TaskKey

_SANITY = "cache/sanity_info"
_SAVED = "saved_tmpdir"
_LINE = 1 << 16
"""Maximum number of bytes read from either file."""
_LONGEST_NAME, _LONGEST_PATH = 255, 3500
"""Limits of file systems and the kernel, in bytes, with room for names appended to the path."""
_SHOWN = 200
"""Maximum number of characters of a recorded path in an error."""


@dataclass(frozen=True, slots=True)
class Place:
    """A path in a TMPDIR, with symlinks resolved."""

    tmpdir: Path
    below: Path
    """Relative to the TMPDIR."""

    @property
    def path(self) -> Path:
        return self.tmpdir / self.below


@dataclass(frozen=True, slots=True)
class TmpDirs:
    """The folders that may contain WORKDIRs and stamps."""

    builddir: Path | None
    """Build directory, None if the current folder is not in one."""
    named: tuple[Path, ...] = ()
    """TMPDIRs named by the user."""

    @staticmethod
    def of(start: Path, named: Sequence[Path] = ()) -> TmpDirs:
        """Return the TMPDIRs of the nearest build directory from `start` upwards, and `named`."""
        builddirs = (
            folder
            for folder in (start, *start.parents)
            if (folder / "conf/bblayers.conf").is_file()
        )
        real = [Path(os.path.realpath(folder)) for folder in named]
        builddir = next(builddirs, None)
        return TmpDirs(
            Path(os.path.realpath(builddir)) if builddir is not None else None, tuple(real)
        )

    def workdir(self, key: TaskKey, text: str) -> Place:
        """Return the place of the WORKDIR in a task's record.

        Raises BitBakeError if it is outside all TMPDIRs.
        """
        place = self._place(key, "WORKDIR", text, "work")
        if len(place.below.parts) < 2:
            raise BitBakeError(
                f"{key}: invalid record: WORKDIR {_shown(text)} contains all WORKDIRs",
                hint=FORGET_RUN,
            )
        return place

    def stamp(self, key: TaskKey, text: str) -> Place:
        """Return the place of the stamp in a task's record.

        Raises BitBakeError if it is outside all TMPDIRs.
        """
        # a symlink at the stamp's own path is replaced, not followed
        parent, _, name = text.rpartition("/")
        if name in ("", ".", "..") or "\0" in name:
            raise BitBakeError(
                f"{key}: invalid record: stamp {_shown(text)} is not a file", hint=FORGET_RUN
            )
        place = self._place(key, "stamp", parent, "stamps")
        return Place(place.tmpdir, place.below / name)

    def _place(self, key: TaskKey, label: str, text: str, folder: str) -> Place:
        names = os.fsencode(text).split(b"/")
        too_long = len(os.fsencode(text)) > _LONGEST_PATH or any(
            len(part) > _LONGEST_NAME for part in names
        )
        if not text.startswith("/") or "\0" in text or too_long:
            raise BitBakeError(
                f"{key}: invalid record: {label} {_shown(text)} is not an absolute path",
                hint=FORGET_RUN,
            )
        real = Path(os.path.realpath(text))
        for tmpdir in self._folders(real):
            if real.is_relative_to(tmpdir):
                below = real.relative_to(tmpdir)
                if below.parts and below.parts[0].startswith(folder):
                    return Place(tmpdir, below)
        allowed = ", ".join(dict.fromkeys(f"{tmpdir}/{folder}*" for tmpdir in self._folders(None)))
        why = (
            f"outside {allowed}"
            if allowed
            else "the current folder is not in a BitBake build directory"
        )
        raise BitBakeError(
            f"{key}: cannot use the recorded {label} {_shown(text)}: {why}",
            hint=(
                "run the command in the build directory of the recorded build, or allow another"
                " TMPDIR with `--tmpdir DIR`"
            ),
        )

    def _folders(self, path: Path | None) -> Iterator[Path]:
        """Yield the existing TMPDIRs, and the TMPDIR of a path, which may have been deleted."""
        yield from self.named
        if self.builddir is None:
            return
        yield self.builddir / "tmp"
        if path is not None and path.is_relative_to(self.builddir):
            first = path.relative_to(self.builddir).parts[:1]
            if first and first[0].startswith("tmp"):
                yield self.builddir / first[0]
        for each in (*self.builddir.glob("tmp*"), *_checked(self.builddir)):
            real = Path(os.path.realpath(each))
            if real.is_relative_to(self.builddir) or _is_tmpdir(real):
                yield real


def _checked(builddir: Path) -> list[Path]:
    """Return the TMPDIR that OpenEmbedded's sanity check last recorded, if any."""
    match = re.search(r"^TMPDIR (/\S+)$", _read(builddir / _SANITY), re.MULTILINE)
    return [Path(match[1])] if match else []


def _is_tmpdir(real: Path) -> bool:
    """Return whether a folder identifies itself as a TMPDIR."""
    saved = _read(real / _SAVED).strip()
    return saved.startswith("/") and "\0" not in saved and Path(os.path.realpath(saved)) == real


def _read(path: Path) -> str:
    try:
        with open(path, "rb") as stream:
            return stream.read(_LINE).decode(errors="replace")
    except OSError:
        return ""


def _shown(text: str) -> str:
    """Return a recorded path for an error: in one line, and truncated if it is long."""
    plain = text if text.isprintable() and text else repr(text)
    return plain if len(plain) <= _SHOWN else f"{plain[:_SHOWN]}…"
