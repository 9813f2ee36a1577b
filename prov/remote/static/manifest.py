"""Encode and decode the manifest of a static cache: its publications and bundles.

    prov static cache 1
    publication 00000001 signed
    bundle 00000001 SIZE HEADER

`signed` is present if the publication has a signature file. SIZE is the size of the bundle, and
HEADER the offset of the pack in it, both in bytes.
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
    """A bundle: its number, its size, and the size of the header before the pack, in bytes."""

    number: int
    size: int
    header: int

    @property
    def name(self) -> str:
        return f"bundles/{self.number:08d}"


@dataclass(frozen=True, slots=True)
class Manifest:
    """The content of a static cache."""

    publications: dict[int, bool]
    """Number of a publication -> whether it is signed."""
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
    """Decode a text that `encode` wrote. Raises ValueError for any other text."""
    first, *lines = data.decode("ascii").splitlines()
    if first != HEADER:
        raise ValueError("not a manifest of a static cache")
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
