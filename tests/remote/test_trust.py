"""Trust: the rules as a table, and with real keys, a real remote and builds that continue."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import pytest

from prov.errors import ProvError
from prov.intake.digest import Digests
from prov.records.ids import OutputId, StaticKey, TaskHash
from prov.records.keys import TaskKey
from prov.remote.publication import Publication, Published
from prov.remote.signature import examine, sign, validity
from prov.remote.trust import FetchedRecord, Seal, check_record, judge
from prov.store.objects import MODE_DIRECTORY, MODE_EXECUTABLE, MODE_FILE, Entry
from prov.store.repository import Store
from prov.transport.errors import (
    Altered,
    Malformed,
    Replayed,
    UnknownKey,
    Unreachable,
    Unsigned,
    Untrusted,
    WrongContent,
)
from tests.remote.keys import Gpg, Keys, allow, sign_with

TASK = Published(
    TaskKey("words:make"),
    TaskHash(b"h" * 20),
    StaticKey(b"s" * 20),
    OutputId(b"o" * 20),
    b"r" * 20,
    b"d" * 32,
    5,
)
TEXT = Publication(5, (TASK,)).encode()
GOOD = Seal("SHA256:abc", good=True, allowed=True)
UNKNOWN = replace(GOOD, allowed=False)
BAD = replace(GOOD, good=False, allowed=False)
Verdict = type[Untrusted] | None


@pytest.mark.parametrize(
    ("trust", "seal", "text", "verdict"),
    [
        ("keys", GOOD, TEXT, None),
        ("keys", None, TEXT, Unsigned),
        ("keys", BAD, TEXT, Altered),
        ("keys", replace(BAD, allowed=True), TEXT, Altered),
        ("keys", UNKNOWN, TEXT, UnknownKey),
        ("keys", GOOD, TEXT + b"x\n", Malformed),
        ("keys", None, b"noise", Unsigned),
        ("any-signed", GOOD, TEXT, None),
        ("any-signed", UNKNOWN, TEXT, None),
        ("any-signed", None, TEXT, Unsigned),
        ("any-signed", BAD, TEXT, Altered),
        ("any-signed", UNKNOWN, b"", Malformed),
        ("none", None, TEXT, None),
        ("none", BAD, TEXT, None),
        ("none", None, b"\xff", Malformed),
    ],
)
def test_rules_for_publications(
    trust: Literal["keys", "any-signed", "none"], seal: Seal | None, text: bytes, verdict: Verdict
) -> None:
    if verdict is None:
        assert judge("team", trust, text, seal).tasks == (TASK,)
        return
    with pytest.raises(Untrusted) as caught:
        judge("team", trust, text, seal)
    assert type(caught.value) is verdict
    assert "remote team" in str(caught.value) and (not seal or seal.key in str(caught.value))


FACTS = {"task": "words:make", "task-hash": (b"h" * 20).hex(), "result": "ok"}
CAME = FetchedRecord(b"d" * 32, FACTS, b"h" * 20, OutputId(b"o" * 20))


@pytest.mark.parametrize(
    ("came", "verdict"),
    [
        (CAME, None),
        (replace(CAME, digest=b"e" * 32), WrongContent),
        (replace(CAME, digest=b""), WrongContent),
        (replace(CAME, facts={**FACTS, "task": "words:other"}), Replayed),
        (replace(CAME, facts={**FACTS, "task-hash": "0" * 40}), Replayed),
        (replace(CAME, facts={}), Replayed),
        (replace(CAME, inputs=b"i" * 20), Replayed),
        (replace(CAME, inputs=None), Replayed),
        (replace(CAME, output=OutputId(b"p" * 20)), WrongContent),
        (replace(CAME, output=None), WrongContent),
        (replace(CAME, facts={**FACTS, "result": "failed"}), WrongContent),
        (
            replace(CAME, facts={"task": "words:make", "task-hash": FACTS["task-hash"]}),
            WrongContent,
        ),
    ],
)
def test_rules_for_records(came: FetchedRecord, verdict: Verdict) -> None:
    if verdict is None:
        check_record("team", "SHA256:abc", TASK, came)
        return
    with pytest.raises(Untrusted) as caught:
        check_record("team", "SHA256:abc", TASK, came)
    assert type(caught.value) is verdict
    assert all(word in str(caught.value) for word in ("remote team", "words:make", "SHA256:abc"))


@pytest.mark.parametrize(
    "error", [Unsigned, UnknownKey, Altered, WrongContent, Replayed, Malformed]
)
def test_unreachable_and_untrusted_errors_are_unrelated(
    error: type[Untrusted],
) -> None:
    assert not issubclass(error, Unreachable) and not issubclass(Unreachable, error)
    assert issubclass(error, Untrusted) and issubclass(error, ProvError)


@pytest.mark.parametrize("changed", ["file", "name", "mode", "folder"])
def test_signatures_do_not_depend_on_sha1(store: Store, tmp_path: Path, changed: str) -> None:
    """Two records with the same SHA-1 ids, forged by collisions, have different digests."""

    def digest(
        content: bytes, name: bytes = b"f", mode: int = MODE_FILE, folder: bytes = b"x"
    ) -> bytes:
        class Collided:
            """A store with ids that do not depend on content."""

            def tree(self, oid: bytes) -> list[Entry]:
                return (
                    [Entry(folder, MODE_DIRECTORY, b"t" * 20)]
                    if oid == b"r" * 20
                    else [Entry(name, mode, b"b" * 20)]
                )

            def blob_size(self, oid: bytes) -> int:
                return len(content)

            def stream_blob(self, oid: bytes) -> Iterator[bytes]:
                yield content

        return Digests(Collided(), tmp_path / "nowhere" / os.urandom(4).hex()).tree(b"r" * 20).id  # type: ignore[arg-type]

    other = {
        "file": {},
        "name": {"name": b"g"},
        "mode": {"mode": MODE_EXECUTABLE},
        "folder": {"folder": b"y"},
    }[changed]
    signed = replace(TASK, digest=digest(b"good"))
    check_record("team", "K", signed, replace(CAME, digest=digest(b"good")))
    with pytest.raises(WrongContent, match="SHA-256"):
        evil = digest(b"evil" if changed == "file" else b"good", **other)  # type: ignore[arg-type]
        check_record("team", "K", signed, replace(CAME, digest=evil))


# with real keys


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys")


def test_seals_of_ssh(keys: Keys) -> None:
    signers = str(keys.signers)
    good = examine(TEXT, sign(TEXT, str(keys.allowed)), signers)
    assert (good.good, good.allowed) == (True, True) and good.key.startswith("SHA256:")
    other = examine(TEXT, sign_with(TEXT, keys.other), signers)
    assert (other.good, other.allowed) == (True, False) and other.key != good.key
    for bad in (
        sign_with(TEXT, keys.allowed, "git"),
        sign_with(TEXT + b"x", keys.allowed),
        b"",
        b"noise",
        b"-----BEGIN SSH SIGNATURE-----\n",
    ):
        seal = examine(TEXT, bad, signers)
        assert (seal.good, seal.allowed) == (False, False)
    for options in ('namespaces="git" ', 'valid-before="20200101" ', 'valid-after="29990101" '):
        allow(keys.signers, keys.allowed, options=options)
        assert not examine(TEXT, sign_with(TEXT, keys.allowed), signers).allowed


@pytest.mark.parametrize(
    ("options", "passed"),
    [
        ("", [0, 0, 0]),
        ('valid-before="20300601" ', [0, 0, 1]),
        ('valid-after="20200601Z",valid-before="20300601120000Z" ', [1, 1, 2]),
        ('valid-before="203006011200" ', [0, 0, 1]),
        ('valid-before="20309999" ', [1, 1, 1]),
    ],
)
def test_the_validity_of_a_key_changes_with_time(
    options: str, passed: list[int], keys: Keys
) -> None:
    allow(keys.signers, keys.allowed, options=options)
    times = [datetime(year, 1, 1, tzinfo=UTC).timestamp() for year in (2026, 2027, 2031)]
    assert [int(validity(str(keys.signers), now)) for now in times] == passed


def test_certificates_are_verified_again_each_day(keys: Keys) -> None:
    allow(keys.signers, keys.allowed, options="cert-authority ")
    days = [validity(str(keys.signers), 86_400.0 * day + 5) for day in (1, 1.5, 2)]
    assert days[0] == days[1] != days[2]


@pytest.fixture
def gpg(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gpg]:
    made = Gpg(tmp_path_factory.mktemp("g"))
    yield made
    made.stop()


def test_a_key_of_gpg_that_expires(gpg: Gpg, tmp_path: Path) -> None:
    signers = gpg.export(tmp_path / "signers")
    assert validity(signers, time.time() + 1e9) == "0"
    gpg.run("--quick-set-expire", gpg.key, "2030-01-01")
    gpg.export(tmp_path / "signers")
    assert [
        validity(signers, datetime(year, 6, 1, tzinfo=UTC).timestamp()) for year in (2029, 2031)
    ] == ["0", "1"]


def test_seals_of_gpg(gpg: Gpg, tmp_path: Path) -> None:
    signature = gpg.sign(TEXT)
    signers = gpg.export(tmp_path / "signers")
    assert examine(TEXT, signature, signers) == Seal(gpg.key, good=True, allowed=True)
    inline = gpg.run("--armor", "--sign", data=TEXT).replace(b"PGP MESSAGE", b"PGP SIGNATURE")
    for text, bad in (
        (TEXT + b"x", signature),
        (b"other", inline),
        (TEXT, inline),
        (TEXT, signature[:90]),
    ):
        seal = examine(text, bad, signers)
        assert not seal.good and not seal.allowed
    weak = gpg.sign(TEXT, "--digest-algo", "SHA1")
    assert not examine(TEXT, weak, signers).allowed, "a signature of a SHA-1 digest"
    for notation in ("", "namespace@git-prov=other", "other@git-prov=prov-publication"):
        seal = examine(TEXT, gpg.sign(TEXT, notation=notation), signers)
        assert not seal.good and not seal.allowed, "signed for something else"
    (tmp_path / "none").write_text("")
    unknown = examine(TEXT, signature, str(tmp_path / "none"))
    assert (unknown.good, unknown.allowed) == (True, False)
    assert not examine(TEXT + b"x", signature, "").good, (
        "without the key, the signature cannot be verified"
    )
    (revocation,) = (gpg.home / "openpgp-revocs.d").glob("*.rev")
    gpg.run("--import", data=revocation.read_bytes().replace(b":-----BEGIN", b"-----BEGIN"))
    revoked = examine(TEXT, signature, gpg.export(tmp_path / "revoked"))
    assert revoked == Seal(gpg.key, good=True, allowed=False)
