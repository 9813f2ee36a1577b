"""The TMPDIRs of the user's build: the only folders in which paths that a record names are used.

A record may come from another machine, or from an attacker. The build directory, which belongs to
the user, decides where WORKDIRs and stamps can be; a record only selects one of them. Links are
resolved before a path is compared.

A TMPDIR is `tmp*` in the build directory, the one that OpenEmbedded's sanity check wrote to
`cache/sanity_info`, or one that the user names. A TMPDIR outside the build directory that the user
does not name must identify itself: the same check leaves `saved_tmpdir` in it. So a build directory
from elsewhere can't lead to other folders.
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
"""Bytes that are read of either of the two."""
_LONGEST_NAME, _LONGEST_PATH = 255, 3500
"""In bytes, as much as file systems and the kernel take; names are added to the path."""
_SHOWN = 200
"""Characters of a path from a record that an error shows."""


@dataclass(frozen=True, slots=True)
class Place:
    """A path in a TMPDIR, without links."""

    tmpdir: Path
    below: Path
    """Relative to the TMPDIR."""

    @property
    def path(self) -> Path:
        return self.tmpdir / self.below


@dataclass(frozen=True, slots=True)
class TmpDirs:
    """Where WORKDIRs and stamps may be."""

    builddir: Path | None
    """None where the user is in no build directory."""
    named: tuple[Path, ...] = ()
    """TMPDIRs that the user names."""

    @staticmethod
    def of(start: Path, named: Sequence[Path] = ()) -> TmpDirs:
        """Return those of the nearest build directory, from `start` upwards, and those that the
        user names.
        """
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
        """Return the place of the WORKDIR that the record of a task names.

        Raises BitBakeError if it is elsewhere.
        """
        place = self._place(key, "WORKDIR", text, "work")
        if len(place.below.parts) < 2:
            raise BitBakeError(
                f"{key}: its record names the WORKDIR {_shown(text)}: that holds all of them",
                hint=FORGET_RUN,
            )
        return place

    def stamp(self, key: TaskKey, text: str) -> Place:
        """Return the place of the stamp that the record of a task names.

        Raises BitBakeError if it is elsewhere.
        """
        parent, _, name = text.rpartition(
            "/"
        )  # a link in the stamp's own place is replaced, not followed
        if name in ("", ".", "..") or "\0" in name:
            raise BitBakeError(
                f"{key}: its record names the stamp {_shown(text)}: not a file", hint=FORGET_RUN
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
                f"{key}: its record names the {label} {_shown(text)}: not a path", hint=FORGET_RUN
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
            else "the current folder is in no build directory of BitBake's"
        )
        raise BitBakeError(
            f"{key}: its record names the {label} {_shown(text)}: {why}",
            hint=(
                "run this in the build directory that recorded it, or allow its TMPDIR with"
                " `--tmpdir DIR`"
            ),
        )

    def _folders(self, path: Path | None) -> Iterator[Path]:
        """Yield the TMPDIRs that exist, and the one of a path in the build directory, which may
        have been deleted.
        """
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
    """Return the TMPDIR that OpenEmbedded's sanity check last saw in a build directory, in a
    list.
    """
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
    """Return a path from a record as an error shows it: in one line, and cut off if it is long."""
    plain = text if text.isprintable() and text else repr(text)
    return plain if len(plain) <= _SHOWN else f"{plain[:_SHOWN]}…"
