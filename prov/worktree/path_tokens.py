"""Replace paths that differ between directories by tokens in what is stored, and back.

A file that holds the path of a WORKDIR, a sysroot or the folder of host tools is stored with a
token in its place, so that it is the same wherever it was made; on checkout, the token becomes the
path that applies there.

A text is replaced exactly, and comes back exactly. In an ELF file nothing may move: the token is as
long as the path that it stands for (`@PROV:NATIVE=====@`), and a shorter path is followed by what
is left of its C string, and NULs. A path that is too long becomes one that does not exist,
`/nonexistent`. A file that is neither (a compiled Python file, say) keeps its path and is reported
as one that holds it. Pure: bytes in, bytes out.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from mmap import mmap
from typing import NamedTuple

TEXT, BINARY, HELD = b"text", b"binary", b"held"
"""What is to be done with a file: replace as text, as C strings, or nothing, since nothing can
be.
"""
NAMES = {b"W": b"WORKDIR", b"S": b"SYSROOT", b"N": b"NATIVE", b"H": b"HOSTTOOLS"}
"""What can be replaced, by the letter that a file's mark has for it."""
MARK = b"@PROV:"
_TOKEN = re.compile(rb"@PROV:(WORKDIR|SYSROOT|NATIVE|HOSTTOOLS)(=*)@")
_LETTERS = {name: letter for letter, name in NAMES.items()}
# A path begins where no name goes on, or after an option that is written without a space.
_BEFORE = rb"(?:(?<![\w.+~-])|(?<=-[LIBR])|(?<=-isystem)|(?<=-idirafter))"
_BINARIES = (b"\x7fELF", b"!<arch>\n")
NOWHERE = b"/nonexistent"
"""Stands for a WORKDIR where that is nobody's, and for a path that does not fit: shorter than every
token.
"""


class Tokenised(NamedTuple):
    """A file's content as it is stored, and the mark that says how to bring the paths back."""

    data: bytes
    fixme: bytes


@dataclass(frozen=True, slots=True)
class TokenPaths:
    """The paths, as a task sees them, of its WORKDIR, its two sysroots, and its folder of host
    tools.
    """

    paths: Mapping[bytes, bytes]
    """Letter of NAMES -> absolute path."""
    aliases: tuple[tuple[bytes, bytes], ...] = ()
    """More (path, letter): other ways to the same places, as by a link among the folders."""
    constant: bool = False
    """The same for every recipe of the architecture, as in a sandbox: what is relocated once can be
    shared.
    """
    _known: tuple[bytes, ...] = field(init=False, compare=False, repr=False)
    _pattern: re.Pattern[bytes] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        by_length = sorted(self.all, key=len, reverse=True)  # a sysroot may be inside the WORKDIR
        # one that begins with another is found where that one is
        shortest = [
            path
            for path in by_length
            if not any(path != other and path.startswith(other) for other in by_length)
        ]
        object.__setattr__(self, "_known", tuple(shortest))
        alternatives = b"|".join(map(re.escape, by_length)) if by_length else rb"(?!)"
        object.__setattr__(self, "_pattern", re.compile(_BEFORE + b"(" + alternatives + b")"))

    @property
    def all(self) -> dict[bytes, bytes]:
        """Every path -> its letter."""
        return {**dict(self.aliases), **{path: letter for letter, path in self.paths.items()}}

    def find(self, data: bytes | mmap) -> bool:
        """Tell whether any of the paths is in a file's content."""
        return (
            any(data.find(path) >= 0 for path in self._known)
            and self._pattern.search(data) is not None
        )

    def text(self) -> bytes:
        """Return the paths as lines: what an output that keeps them is tied to."""
        return b"".join(
            b"%s %s\n" % (NAMES[letter], path) for letter, path in sorted(self.paths.items())
        )

    def digest(self, fixme: bytes) -> str:
        """Return a short text that differs where something else may become of a file with this
        mark.
        """
        paths = [self.paths[letter] for letter in _letters(fixme)]
        return hashlib.sha1(b"\0".join([fixme, *paths])).hexdigest()[:12]

    def replacing(self, fixme: bytes) -> Mapping[bytes, bytes]:
        """Return token name -> path, of the places that a mark names: no other token counts."""
        return {NAMES[letter]: self.paths[letter] for letter in _letters(fixme)}


def _letters(fixme: bytes) -> list[bytes]:
    return [letter for letter in NAMES if letter in fixme.partition(b":")[2]]


def tokenise(data: bytes, token_paths: TokenPaths) -> Tokenised | None:
    """Return a file's content with tokens for the paths that it holds; None if it holds none."""
    if not token_paths.find(data):
        return None
    letters = {match[1]: token_paths.all[match[1]] for match in token_paths._pattern.finditer(data)}
    suffix = b":" + b"".join(sorted(set(letters.values())))
    if MARK in data:  # what is there already could not be told from ours
        return Tokenised(data, HELD)
    if b"\0" not in data:
        return Tokenised(
            token_paths._pattern.sub(lambda match: _token(token_paths.all[match[1]]), data),
            TEXT + suffix,
        )
    if not data.startswith(_BINARIES) or any(
        len(path) < len(_token(letter)) for path, letter in letters.items()
    ):
        return Tokenised(data, HELD)
    return Tokenised(
        token_paths._pattern.sub(
            lambda match: _token(token_paths.all[match[1]], len(match[1])), data
        ),
        BINARY + suffix,
    )


def _token(letter: bytes, length: int = 0) -> bytes:
    bare = MARK + NAMES[letter] + b"@"
    return MARK + NAMES[letter] + b"=" * max(0, length - len(bare)) + b"@"


def token_letters(data: bytes) -> bytes:
    """Return which places the tokens in an ELF file or an archive stand for, nothing for other
    files.
    """
    if not data.startswith(_BINARIES):
        return b""
    return b"".join(sorted({_LETTERS[match[1]] for match in _TOKEN.finditer(data)}))


def fits(data: bytes, fixme: bytes, token_paths: TokenPaths) -> bool:
    """Tell whether a stored ELF file has room for all of this place's paths."""
    paths = token_paths.replacing(fixme)
    return all(len(paths.get(match[1], b"")) <= len(match[0]) for match in _TOKEN.finditer(data))


def relocate(data: bytes, fixme: bytes, token_paths: TokenPaths) -> bytes:
    """Return a stored file's content with this place's paths."""
    kind, paths = fixme.partition(b":")[0], token_paths.replacing(fixme)
    if kind == TEXT:
        return _TOKEN.sub(lambda match: paths.get(match[1], match[0]), data)
    if kind == BINARY:
        return _relocate_strings(data, paths)
    return data


def _fitting(match: re.Match[bytes], paths: Mapping[bytes, bytes]) -> bytes:
    path = paths.get(match[1], match[0])
    return path if len(path) <= len(match[0]) else NOWHERE


def _relocate_strings(data: bytes, paths: Mapping[bytes, bytes]) -> bytes:
    pieces, at = [], 0
    while match := _TOKEN.search(data, at):
        end = data.find(b"\0", match.end())
        end = len(data) if end < 0 else end
        old = data[match.start() : end]
        new = _TOKEN.sub(lambda token: _fitting(token, paths), old)
        pieces += [data[at : match.start()], new, bytes(len(old) - len(new))]
        at = end
    return b"".join([*pieces, data[at:]])
