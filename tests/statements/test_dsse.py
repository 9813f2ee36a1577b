"""Envelopes are verified by securesystemslib and openssl; invalid keys are rejected."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prov.errors import ProvError
from prov.statements.dsse import PAYLOAD_TYPE, load_signer, sign

dsse = pytest.importorskip("securesystemslib.dsse")
ec = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ec")
serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa, x25519  # noqa: E402
from securesystemslib.exceptions import VerificationError  # noqa: E402
from securesystemslib.signer import SSlibKey  # noqa: E402

PAYLOAD = b'{"a":"\xc3\xa9"}\n'
KINDS: dict[str, Callable[[], Any]] = {
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "P-521": lambda: ec.generate_private_key(ec.SECP521R1()),
}
FORMS = {"openssh": serialization.PrivateFormat.OpenSSH, "pem": serialization.PrivateFormat.PKCS8}


def write_key(path: Path, key: Any, form: str = "pem") -> Path:
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, FORMS[form], serialization.NoEncryption())
    )
    return path


def verify(envelope: bytes, public: Any) -> None:
    dsse.Envelope.from_dict(json.loads(envelope)).verify([SSlibKey.from_crypto(public)], 1)


@pytest.fixture
def signed(tmp_path: Path) -> tuple[dict[str, Any], Any]:
    key = ed25519.Ed25519PrivateKey.generate()
    envelope = sign(PAYLOAD, load_signer(write_key(tmp_path / "key", key)))
    return json.loads(envelope), key.public_key()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_envelope_is_verified_from_the_public_key_alone(
    kind: str, form: str, tmp_path: Path
) -> None:
    key = KINDS[kind]()
    envelope = sign(PAYLOAD, load_signer(write_key(tmp_path / "key", key, form)))
    verify(envelope, key.public_key())
    table = json.loads(envelope)
    assert (b64decode(table["payload"]), table["payloadType"]) == (PAYLOAD, PAYLOAD_TYPE)
    assert envelope.count(b"\n") == 1


@pytest.mark.parametrize(
    "options", [("ed25519",), ("ecdsa",), ("ecdsa", "-m", "PEM"), ("ecdsa", "-m", "PKCS8")]
)
@pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="ssh-keygen is not installed")
def test_keys_of_ssh_keygen_sign(options: tuple[str, ...], tmp_path: Path) -> None:
    subprocess.run(
        ["ssh-keygen", "-q", "-N", "", "-f", tmp_path / "key", "-t", *options], check=True
    )
    envelope = sign(PAYLOAD, load_signer(tmp_path / "key"))
    verify(envelope, serialization.load_ssh_public_key((tmp_path / "key.pub").read_bytes()))


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed")
def test_openssl_agrees(signed: tuple[dict[str, Any], Any], tmp_path: Path) -> None:
    envelope, public = signed
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    (tmp_path / "public").write_bytes(public.public_bytes(serialization.Encoding.PEM, form))
    payload = b64decode(envelope["payload"])
    (tmp_path / "signed").write_bytes(
        b"DSSEv1 %d %b %d %b" % (28, PAYLOAD_TYPE.encode(), len(payload), payload)
    )
    (tmp_path / "signature").write_bytes(b64decode(envelope["signatures"][0]["sig"]))
    command = "openssl pkeyutl -verify -pubin -inkey public -rawin -in signed -sigfile signature"
    done = subprocess.run(command.split(), cwd=tmp_path, capture_output=True, text=True)
    if "unknown option" in done.stderr.lower():
        pytest.skip("this openssl has no -rawin")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_tampered_envelope_is_not_verified(signed: tuple[dict[str, Any], Any]) -> None:
    envelope, public = signed
    verify(json.dumps(envelope).encode(), public)
    flipped = bytearray(b64decode(envelope["signatures"][0]["sig"]))
    flipped[0] ^= 1
    signature = [{**envelope["signatures"][0], "sig": b64encode(flipped).decode()}]
    changes: tuple[dict[str, object], ...] = (
        {"payload": b64encode(PAYLOAD.replace(b"a", b"b")).decode()},
        {"payloadType": "application/json"},
        {"signatures": signature},
        {"signatures": []},
    )
    for change in changes:
        with pytest.raises(VerificationError):
            verify(json.dumps({**envelope, **change}).encode(), public)
    with pytest.raises(VerificationError):
        verify(json.dumps(envelope).encode(), ed25519.Ed25519PrivateKey.generate().public_key())


@pytest.mark.parametrize("options", [(), ("-m", "PEM"), ("-m", "PKCS8")])
@pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="ssh-keygen is not installed")
def test_a_key_with_a_passphrase_is_rejected_with_a_hint(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    command = [
        "ssh-keygen",
        "-q",
        "-N",
        "open sesame",
        "-f",
        str(tmp_path / "key"),
        "-t",
        "ecdsa",
        *options,
    ]
    subprocess.run(command, check=True)
    with pytest.raises(
        ProvError, match="key: key has a passphrase: prov cannot prompt for it"
    ) as caught:
        load_signer(tmp_path / "key")
    assert "ssh-keygen -t ed25519 -N ''" in caught.value.hint


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (
            lambda: rsa.generate_private_key(65537, 2048),
            "unsupported key type RSA: expected ed25519 or ECDSA",
        ),
        (
            x25519.X25519PrivateKey.generate,
            "unsupported key type X25519: expected ed25519 or ECDSA",
        ),
        (
            lambda: ec.generate_private_key(ec.SECP256K1()),
            "unsupported key: unsupported curve 'secp256k1'",
        ),
    ],
)
def test_an_unsupported_key_type_is_rejected(key: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(ProvError, match=said):
        load_signer(write_key(tmp_path / "key", key()))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot read key: No such file or directory"),
        (b"", "expected a private key in"),
        (b"\xff" * 500, "expected a private key in"),
        (
            b"-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNz\n-----END OPENSSH PRIVATE KEY-----\n",
            "expected a private key in",
        ),
        (
            b"-----BEGIN PRIVATE KEY-----\nMC4CAQ==\n-----END PRIVATE KEY-----\n",
            "expected a private key in",
        ),
        (
            b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI user@host\n",
            "expected a private key, not a public key",
        ),
    ],
)
def test_an_invalid_key_is_reported_in_one_line(
    content: bytes | None, said: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    with pytest.raises(ProvError, match=said) as caught:
        load_signer(tmp_path / "key")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "missing", ["securesystemslib.signer", "cryptography.hazmat.primitives.serialization"]
)
def test_a_missing_library_is_reported_with_the_command(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    write_key(tmp_path / "key", ed25519.Ed25519PrivateKey.generate())
    with pytest.raises(ProvError, match="signing requires securesystemslib") as caught:
        load_signer(tmp_path / "key")
    assert caught.value.hint == "run `pip install 'git-prov[attest]'`"
