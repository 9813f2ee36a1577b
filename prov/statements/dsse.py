"""Signs a statement: a DSSE envelope, made by securesystemslib, which is imported here alone and
only when asked for.

Keys are ed25519 or ECDSA (P-256, P-384, P-521), in OpenSSH's format or PEM, without a passphrase:
prov asks nobody.
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
MAKE_KEY = "`ssh-keygen -t ed25519 -N '' -f FILE` makes one"
_OPENSSH = b"-----BEGIN OPENSSH PRIVATE KEY-----"
_PUBLIC = (b"ssh-", b"ecdsa-", b"sk-", b"-----BEGIN PUBLIC KEY", b"---- BEGIN SSH2 PUBLIC KEY")


def load_signer(path: Path) -> CryptoSigner:
    """Return what signs with the private key in a file. Raises ProvError."""
    try:
        from securesystemslib.signer import CryptoSigner
    except ImportError as error:
        raise _missing(error) from error
    key = _load(path, _read(path))
    kind = _kind(key)
    if kind not in ("Ed25519", "EC"):
        raise ProvError(
            f"{path}: a key of the kind {kind}, where ed25519 or ECDSA is needed", hint=MAKE_KEY
        )
    try:
        return CryptoSigner(key)
    except ValueError as error:  # a curve that it does not know
        raise ProvError(f"{path}: can't be used to sign: {error}", hint=MAKE_KEY) from error


def sign(payload: bytes, signer: CryptoSigner) -> bytes:
    """Return the envelope of a payload: one line of JSON."""
    from securesystemslib.dsse import Envelope

    envelope = Envelope(payload, PAYLOAD_TYPE, {})
    envelope.sign(signer)
    return f"{json.dumps(envelope.to_dict(), sort_keys=True)}\n".encode()


def _missing(error: ImportError) -> ProvError:
    return ProvError(
        f"signing needs securesystemslib ({error})", hint="pip install 'git-prov[attest]'"
    )


def _read(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ProvError(f"{path}: no key can be read: {error.strerror}", hint=MAKE_KEY) from error
    if data.startswith(_PUBLIC):
        raise ProvError(
            f"{path}: that is the public key", hint="the private one signs, most often without .pub"
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
        with warnings.catch_warnings():  # of kinds that are old, which are refused all the same
            warnings.simplefilter("ignore")
            return (load_ssh_private_key if data.startswith(_OPENSSH) else load_pem_private_key)(
                data, None
            )
    except TypeError as error:  # how cryptography tells of a passphrase
        raise ProvError(
            f"{path}: the key has a passphrase, for which prov can't ask",
            hint=f"have a key for this that has none: {MAKE_KEY}",
        ) from error
    except UnsupportedAlgorithm as error:
        raise ProvError(
            f"{path}: a key of a kind that is not supported: {error}", hint=MAKE_KEY
        ) from error
    except (
        ValueError,
        InternalError,
    ) as error:  # InternalError: OpenSSL reports a PEM without line ends twice
        raise ProvError(
            f"{path}: not a private key in OpenSSH's format or PEM", hint=MAKE_KEY
        ) from error


def _kind(key: Any) -> str:
    """Return a key's kind as cryptography calls it: Ed25519, EC, RSA."""
    return type(key).__name__.lstrip("_").removesuffix("PrivateKey")
