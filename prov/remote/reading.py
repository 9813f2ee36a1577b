"""Add publications from any kind of remote to an index, under the remote's trust policy."""

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
"""Maximum bytes of a signature."""


@dataclass(frozen=True, slots=True)
class PublishedText:
    """A publication as stored at the remote."""

    text: bytes
    signature: bytes | None


def memory_folder(store: Store, remote: Remote) -> Path:
    """Return the cache folder of a remote; if its URL changes, so does the folder."""
    return (
        store.cache / "remotes" / remote.name / hashlib.sha1(remote.url.encode()).hexdigest()[:12]
    )


def refresh_index(
    folder: Path, index: Index, read: Callable[[], list[Untrusted]]
) -> list[Untrusted]:
    """Update an index by `read`, under a lock; return the result of `read`.

    If the index is damaged, delete it and read everything again.
    """
    with locked(folder / "lock"):
        try:
            return read()
        except Damaged:
            index.reset()
            return read()


def policy_of(remote: Remote) -> str:
    """Return a text for the current policy; if it changes (a key expired), the index is read again
    completely.
    """
    signers = Path(remote.signers)
    content = signers.read_bytes() if remote.signers and signers.is_file() else b""
    text = f"{remote.trust} {hashlib.sha256(content).hexdigest()}"
    if remote.trust == "keys":
        text += f" {validity(remote.signers, time.time())}"
    return text


def check_index_size(remote: Remote, total: int) -> None:
    """Raise Unreachable if all publications, of `total` bytes, exceed the index limit."""
    if total > remote.index_limit:
        raise Unreachable(
            remote.name,
            f"its publications have {total} bytes, the limit is {remote.index_limit}",
            hint=f"run `prov remote gc {remote.name}` to shrink it, or raise --list-limit with"
            " `prov remote add`",
        )


def enter(
    index: Index,
    remote: Remote,
    number: int,
    text: PublishedText,
    present: Callable[[Publication], Publication] = lambda publication: publication,
) -> Untrusted | None:
    """Add a publication to an index; return the reason if it is rejected.

    `present` returns the publication without deleted results.
    """
    oid = object_id("blob", text.text)
    seal = _seal(remote, text)
    signer = seal.key if seal and seal.good else ""
    try:
        publication = judge(remote.name, remote.trust, text.text, seal)
    except Untrusted as error:
        refused = None if isinstance(error, Malformed) else _decoded(text.text)
        seconds = refused.seconds if refused else 0
        listed = Listed(number, oid, seconds, signer or error.key, error.words)
        index.add(listed, present(refused) if refused else None)
        return error
    index.add(Listed(number, oid, publication.seconds, signer, ""), present(publication))
    return None


def _decoded(text: bytes) -> Publication | None:
    """Decode a rejected publication, so that prov can report why its tasks are not used."""
    try:
        return decode_publication(text)
    except (ValueError, IndexError):
        return None


def _seal(remote: Remote, text: PublishedText) -> Seal | None:
    if text.signature is None or remote.trust == "none":
        return None
    return examine(text.text, text.signature, remote.signers)
