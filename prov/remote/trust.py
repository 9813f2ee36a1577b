"""Decide whether data from a remote may be used. Pure functions of bytes and facts.

The rules:

1. A publication is accepted or rejected as a whole. The policy `keys` requires a good signature by
   a key in the signers file, `any-signed` requires any good signature, and `none` requires no
   signature.
2. A fetched record must have the signed id in git's SHA-256 object format.
3. Its task, task hash and output must be those of the signed line.
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
    """A verified signature."""

    key: str
    """Fingerprint of the signer's key."""
    good: bool
    """Whether that key signed exactly this text."""
    allowed: bool
    """Whether the signers file allows that key."""


def judge(remote: str, trust: Trust, text: bytes, seal: Seal | None) -> Publication:
    """Decode a publication that the policy accepts; `seal` is None if it has no signature.

    Raises Untrusted if the policy rejects it.
    """
    if trust != "none":
        if seal is None:
            raise Unsigned(remote, "a publication is not signed")
        if not seal.good:
            raise Altered(remote, "a publication does not match its signature", key=seal.key)
        if trust == "keys" and not seal.allowed:
            raise UnknownKey(
                remote,
                "a publication is signed with a key that is not in the signers file",
                key=seal.key,
            )
    try:
        return decode_publication(text)
    except (ValueError, IndexError) as error:
        key = seal.key if seal else ""
        raise Malformed(remote, f"invalid publication: {error}", key=key) from error


@dataclass(frozen=True, slots=True)
class FetchedRecord:
    """The parts of a fetched record to check."""

    digest: bytes
    facts: Mapping[str, str]
    inputs: Oid | None
    output: OutputId | None


def check_record(remote: str, key: str, signed: Published, fetched: FetchedRecord) -> None:
    """Raise Untrusted unless a fetched record is the signed one, for the signed task."""
    if fetched.digest != signed.digest:
        raise WrongContent(
            remote, "the record does not match its signed SHA-256", key=key, task=signed.key
        )
    check_task(remote, key, signed, fetched)


def check_task(remote: str, key: str, signed: Published, fetched: FetchedRecord) -> None:
    """Raise Untrusted unless a record has the signed task, task hash and output."""
    facts = fetched.facts
    task = (facts.get("task"), facts.get("task-hash"), fetched.inputs)
    if task != (signed.key, signed.task_hash.hex(), signed.task_hash):
        raise Replayed(
            remote,
            f"the record belongs to {facts.get('task', 'nothing')[:400]!r}",
            key=key,
            task=signed.key,
        )
    if fetched.output != signed.output or facts.get("result") != "ok":
        raise WrongContent(
            remote, "the output differs from the signed output", key=key, task=signed.key
        )
