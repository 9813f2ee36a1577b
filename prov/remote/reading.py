"""Reading publications into an index, under a remote's policy, from every kind of remote."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from prov.files import locked
from prov.remote.index import Damaged, Index, Listed
from prov.remote.publication import Publication, decode_publication
from prov.remote.settings import Remote
from prov.remote.signature import examine, validity
from prov.remote.trust import Seal, judge
from prov.store.objects import object_id
from prov.store.repository import Store
from prov.transport.errors import Malformed, Unreachable, Untrusted

SIGNATURE = 1 << 20
"""Bytes of a signature, at the most."""


@dataclass(frozen=True, slots=True)
class PublishedText:
    """A publication as it is at the remote."""

    text: bytes
    signature: bytes | None


def memory_folder(store: Store, remote: Remote) -> Path:
    """Return the folder for what is known here of a remote; another URL under its name is another
    remote.
    """
    return (
        store.cache / "remotes" / remote.name / hashlib.sha1(remote.url.encode()).hexdigest()[:12]
    )


def refresh_index(
    folder: Path, index: Index, read: Callable[[], list[Untrusted]]
) -> list[Untrusted]:
    """Bring an index up to date by `read`, as the only process that does; return what it returns.

    An index that turns out to be damaged is deleted, and read again as a whole.
    """
    with locked(folder / "lock"):
        try:
            return read()
        except Damaged:
            index.begin_anew()
            return read()


def policy_of(remote: Remote) -> str:
    """Return what an index was read under: when it changes, as when a key expires, all is read
    anew.
    """
    signers = Path(remote.signers)
    content = signers.read_bytes() if remote.signers and signers.is_file() else b""
    text = f"{remote.trust} {hashlib.sha256(content).hexdigest()}"
    if remote.trust == "keys":
        text += f" {validity(remote.signers, time.time())}"
    return text


def check_index_size(remote: Remote, total: int) -> None:
    """Raise Unreachable if all publications together, in bytes, are more than a remote's index may
    be.
    """
    if total > remote.index_limit:
        raise Unreachable(
            remote.name,
            f"its publications have {total} bytes together, and {remote.index_limit} are allowed",
            hint="`prov remote gc` makes it smaller; `prov remote add --list-limit` allows more",
        )


def enter(index: Index, remote: Remote, number: int, text: PublishedText) -> Untrusted | None:
    """Enter a publication into an index; return why it is not used, if it is not."""
    oid = object_id("blob", text.text)
    seal = _seal(remote, text)
    signer = seal.key if seal and seal.good else ""
    try:
        publication = judge(remote.name, remote.trust, text.text, seal)
    except Untrusted as error:
        refused = None if isinstance(error, Malformed) else _decoded(text.text)
        seconds = refused.seconds if refused else 0
        index.add(Listed(number, oid, seconds, signer or error.key, error.words), refused)
        return error
    index.add(Listed(number, oid, publication.seconds, signer, ""), publication)
    return None


def _decoded(text: bytes) -> Publication | None:
    """Return what an untrusted publication says, so that a task's absence can be explained."""
    try:
        return decode_publication(text)
    except (ValueError, IndexError):
        return None


def _seal(remote: Remote, text: PublishedText) -> Seal | None:
    if text.signature is None or remote.trust == "none":
        return None
    return examine(text.text, text.signature, remote.signers)
