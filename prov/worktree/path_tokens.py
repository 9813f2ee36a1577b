"""Replace build paths in stored files with tokens, and tokens with paths on checkout.

In a stored file, a token replaces the path of a WORKDIR, a sysroot or the folder of host tools. So
the stored file is the same wherever it was built. Checkout replaces each token with the path that
applies there.

In a text, the replacement is exact in both directions. In an ELF file no bytes may move: a token is
as long as its path (`@PROV:NATIVE=====@`), and if the new path is shorter, the rest of the C string
moves up and is padded with NULs. A path that is too long becomes `/nonexistent`, which does not
exist. A file of another kind, such as compiled Python, keeps its path, and prov reports it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from mmap import mmap
from typing import NamedTuple

TEXT, BINARY, HELD = b"text", b"binary", b"held"
"""How to replace paths in a file: as text, as C strings, or not at all, if that is impossible."""
NAMES = {b"W": b"WORKDIR", b"S": b"SYSROOT", b"N": b"NATIVE", b"H": b"HOSTTOOLS"}
"""The replaceable paths, by their letters in a file's `fixme` mark."""
MARK = b"@PROV:"
_TOKEN = re.compile(rb"@PROV:(WORKDIR|SYSROOT|NATIVE|HOSTTOOLS)(=*)@")
_LETTERS = {name: letter for letter, name in NAMES.items()}
# A path starts after a character that cannot be part of a name, or directly after an option.
_BEFORE = rb"(?:(?<![\w.+~-])|(?<=-[LIBR])|(?<=-isystem)|(?<=-idirafter))"
_BINARIES = (b"\x7fELF", b"!<arch>\n")
NOWHERE = b"/nonexistent"
"""Replaces a path that does not fit, and a WORKDIR that does not exist; shorter than any token."""


class Tokenised(NamedTuple):
    """A file's stored content, and its `fixme` mark, which defines how to restore the paths."""

    data: bytes
    fixme: bytes


@dataclass(frozen=True, slots=True)
class TokenPaths:
    """The paths of a task's WORKDIR, its two sysroots and its host tools, as the task sees them."""

    paths: Mapping[bytes, bytes]
    """Absolute paths by their letters in `NAMES`."""
    aliases: tuple[tuple[bytes, bytes], ...] = ()
    """Other names, (path, letter), of the same places, such as paths through a symlink."""
    constant: bool = False
    """True if all recipes of the architecture have these paths, as in a sandbox.

    They can then share relocated files.
    """
    _known: tuple[bytes, ...] = field(init=False, compare=False, repr=False)
    _pattern: re.Pattern[bytes] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        by_length = sorted(self.all, key=len, reverse=True)  # a sysroot can be inside the WORKDIR
        # a search for a prefix finds all paths that start with it
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
        """The letter of every path and alias."""
        return {**dict(self.aliases), **{path: letter for letter, path in self.paths.items()}}

    def find(self, data: bytes | mmap) -> bool:
        """Return whether a file's content contains any of the paths."""
        return (
            any(data.find(path) >= 0 for path in self._known)
            and self._pattern.search(data) is not None
        )

    def text(self) -> bytes:
        """Return the paths as lines, for an output that depends on them."""
        return b"".join(
            b"%s %s\n" % (NAMES[letter], path) for letter, path in sorted(self.paths.items())
        )

    def digest(self, fixme: bytes) -> str:
        """Return a digest of the paths that a file with this mark depends on: 12 hex digits."""
        paths = [self.paths[letter] for letter in _letters(fixme)]
        return hashlib.sha1(b"\0".join([fixme, *paths])).hexdigest()[:12]

    def replacing(self, fixme: bytes) -> Mapping[bytes, bytes]:
        """Return the paths that a mark names, by token; other tokens are not replaced."""
        return {NAMES[letter]: self.paths[letter] for letter in _letters(fixme)}


def _letters(fixme: bytes) -> list[bytes]:
    return [letter for letter in NAMES if letter in fixme.partition(b":")[2]]


def tokenise(data: bytes, token_paths: TokenPaths) -> Tokenised | None:
    """Return a file's content with its paths replaced by tokens; None if it contains no paths."""
    if not token_paths.find(data):
        return None
    letters = {match[1]: token_paths.all[match[1]] for match in token_paths._pattern.finditer(data)}
    suffix = b":" + b"".join(sorted(set(letters.values())))
    if MARK in data:  # the file's own token could not be distinguished from prov's
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
    """Return the letters of the tokens in an ELF file or archive; empty for other files."""
    if not data.startswith(_BINARIES):
        return b""
    return b"".join(sorted({_LETTERS[match[1]] for match in _TOKEN.finditer(data)}))


def fits(data: bytes, fixme: bytes, token_paths: TokenPaths) -> bool:
    """Return whether all of `token_paths` fit into a stored ELF file."""
    paths = token_paths.replacing(fixme)
    return all(len(paths.get(match[1], b"")) <= len(match[0]) for match in _TOKEN.finditer(data))


def relocate(data: bytes, fixme: bytes, token_paths: TokenPaths) -> bytes:
    """Return a stored file's content with its tokens replaced by `token_paths`."""
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
