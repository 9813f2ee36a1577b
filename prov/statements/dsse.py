"""Sign a statement as a DSSE envelope.

Only this module imports securesystemslib, and only when it signs. Keys are ed25519 or ECDSA (P-256,
P-384, P-521), in OpenSSH's format or PEM, without a passphrase: prov never prompts for one.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prov.errors import ProvError

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner

PAYLOAD_TYPE = "application/vnd.in-toto+json"
MAKE_KEY = "run `ssh-keygen -t ed25519 -N '' -f FILE` to create a key"
_OPENSSH = b"-----BEGIN OPENSSH PRIVATE KEY-----"
_PUBLIC = (b"ssh-", b"ecdsa-", b"sk-", b"-----BEGIN PUBLIC KEY", b"---- BEGIN SSH2 PUBLIC KEY")


def load_signer(path: Path) -> CryptoSigner:
    """Return a signer for the private key in a file. Raises ProvError."""
    try:
        from securesystemslib.signer import CryptoSigner
    except ImportError as error:
        raise _missing(error) from error
    key = _load(path, _read(path))
    kind = _kind(key)
    if kind not in ("Ed25519", "EC"):
        raise ProvError(
            f"{path}: unsupported key type {kind}: expected ed25519 or ECDSA", hint=MAKE_KEY
        )
    try:
        return CryptoSigner(key)
    except ValueError as error:  # an unknown curve
        raise ProvError(f"{path}: unsupported key: {error}", hint=MAKE_KEY) from error


def sign(payload: bytes, signer: CryptoSigner) -> bytes:
    """Return the envelope of a payload: one line of JSON."""
    from securesystemslib.dsse import Envelope

    envelope = Envelope(payload, PAYLOAD_TYPE, {})
    envelope.sign(signer)
    return f"{json.dumps(envelope.to_dict(), sort_keys=True)}\n".encode()


def _missing(error: ImportError) -> ProvError:
    return ProvError(
        f"signing requires securesystemslib: {error}",
        hint="run `pip install 'git-prov[attest]'`",
    )


def _read(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ProvError(f"{path}: cannot read key: {error.strerror}", hint=MAKE_KEY) from error
    if data.startswith(_PUBLIC):
        raise ProvError(
            f"{path}: expected a private key, not a public key",
            hint="pass the private key, usually the file without .pub",
        )
    return data


def _load(path: Path, data: bytes) -> Any:
    try:
        from cryptography.exceptions import InternalError, UnsupportedAlgorithm
        from cryptography.hazmat.primitives.serialization import (
            load_pem_private_key,
            load_ssh_private_key,
        )
    except ImportError as error:
        raise _missing(error) from error
    try:
        with warnings.catch_warnings():  # of old key types, rejected later anyway
            warnings.simplefilter("ignore")
            return (load_ssh_private_key if data.startswith(_OPENSSH) else load_pem_private_key)(
                data, None
            )
    except TypeError as error:  # cryptography's error for a passphrase
        raise ProvError(
            f"{path}: key has a passphrase: prov cannot prompt for it",
            hint=f"use a key without a passphrase: {MAKE_KEY}",
        ) from error
    except UnsupportedAlgorithm as error:
        raise ProvError(f"{path}: unsupported key type: {error}", hint=MAKE_KEY) from error
    except (
        ValueError,
        InternalError,
    ) as error:  # InternalError: OpenSSL reports a PEM without line ends twice
        raise ProvError(
            f"{path}: invalid key: expected a private key in OpenSSH format or PEM", hint=MAKE_KEY
        ) from error


def _kind(key: Any) -> str:
    """Return a key's type in cryptography's spelling: Ed25519, EC, RSA."""
    return type(key).__name__.lstrip("_").removesuffix("PrivateKey")
