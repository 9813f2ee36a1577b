"""Whether something from a remote may be used. Pure: bytes and facts in, a verdict out.

The rules:

1. A publication is used as a whole or not at all. Under `keys` it has a good signature by a key
   that the signers file allows; under `any-signed` it has a good signature; under `none` it needs
   none.
2. A fetched record is the one that was signed: its id in git's SHA-256 object format is the signed
   id.
3. It is the record of the requested task: task, task hash and output are those of the signed line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from prov.records.ids import OutputId
from prov.remote.publication import Publication, Published, decode_publication
from prov.remote.settings import Trust
from prov.store.objects import Oid
from prov.transport.errors import Altered, Malformed, Replayed, UnknownKey, Unsigned, WrongContent


@dataclass(frozen=True, slots=True)
class Seal:
    """What a signature says, once it was looked at."""

    key: str
    """The signer's key, by its fingerprint."""
    good: bool
    """It is a signature of this very text, by that key."""
    allowed: bool
    """The signers file allows that key."""


def judge(remote: str, trust: Trust, text: bytes, seal: Seal | None) -> Publication:
    """Return a publication that may be used; `seal` is None if it has no signature.

    Raises Untrusted.
    """
    if trust != "none":
        if seal is None:
            raise Unsigned(remote, "a publication is not signed")
        if not seal.good:
            raise Altered(remote, "a publication is not what was signed", key=seal.key)
        if trust == "keys" and not seal.allowed:
            raise UnknownKey(
                remote, "a publication is signed by a key that is not allowed", key=seal.key
            )
    try:
        return decode_publication(text)
    except (ValueError, IndexError) as error:
        key = seal.key if seal else ""
        raise Malformed(
            remote, f"a publication is not what it should be: {error}", key=key
        ) from error


@dataclass(frozen=True, slots=True)
class Came:
    """A record as it was fetched."""

    digest: bytes
    facts: Mapping[str, str]
    inputs: Oid | None
    output: OutputId | None


def check_record(remote: str, key: str, signed: Published, came: Came) -> None:
    """Raise Untrusted unless a fetched record is the one that was signed, of the task that it was
    signed for.
    """
    if came.digest != signed.digest:
        raise WrongContent(
            remote, "is not what was signed: its SHA-256 differs", key=key, task=signed.key
        )
    check_task(remote, key, signed, came)


def check_task(remote: str, key: str, signed: Published, came: Came) -> None:
    """Raise Untrusted unless a record is of the task that was signed, and of the output."""
    is_of = (came.facts.get("task"), came.facts.get("task-hash"), came.inputs)
    if is_of != (signed.key, signed.task_hash.hex(), signed.task_hash):
        raise Replayed(
            remote,
            f"has the record of {came.facts.get('task', 'nothing')[:400]!r}",
            key=key,
            task=signed.key,
        )
    if came.output != signed.output or came.facts.get("result") != "ok":
        raise WrongContent(remote, "has another output than was signed", key=key, task=signed.key)
