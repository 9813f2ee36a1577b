"""The list of a cache of plain files: which publications and bundles there are. Pure.

    prov static cache 1
    publication 00000001 signed
    bundle 00000001 SIZE HEADER

`signed` is there if the publication has a signature beside it. SIZE is that of the bundle in bytes,
HEADER how many of them are before the pack.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MANIFEST = "prov-cache"
HEADER = "prov static cache 1"
_PUBLICATION = re.compile(r"publication ([0-9]{8})( signed)?", re.ASCII)
_BUNDLE = re.compile(r"bundle ([0-9]{8}) ([0-9]{1,15}) ([0-9]{1,5})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle: its number, its size in bytes, and how many of them are before the pack."""

    number: int
    size: int
    header: int

    @property
    def name(self) -> str:
        return f"bundles/{self.number:08d}"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What there is. Publications by number, and whether they are signed."""

    publications: dict[int, bool]
    bundles: tuple[Bundle, ...]

    def encode(self) -> bytes:
        lines = [HEADER]
        for number, is_signed in self.publications.items():
            lines.append(f"publication {number:08d}{' signed' * is_signed}")
        lines += [
            f"bundle {bundle.number:08d} {bundle.size} {bundle.header}" for bundle in self.bundles
        ]
        return ("\n".join(lines) + "\n").encode()


def decode_manifest(data: bytes) -> Manifest:
    """Return what `encode` wrote. Raises ValueError for anything else."""
    first, *lines = data.decode("ascii").splitlines()
    if first != HEADER:
        raise ValueError("it is no cache")
    publications, bundles = {}, []
    for line in lines:
        publication, bundle = _PUBLICATION.fullmatch(line), _BUNDLE.fullmatch(line)
        if publication:
            publications[int(publication[1])] = bool(publication[2])
        elif bundle:
            bundles.append(Bundle(int(bundle[1]), int(bundle[2]), int(bundle[3])))
        else:
            raise ValueError(f"unknown line {line[:80]!r}")
    return Manifest(publications, tuple(bundles))
