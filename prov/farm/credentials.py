"""Certificates of a farm: the right to give orders, and the right to answer them.

A farm has one certificate authority, in a folder of the machine that starts builds. It issues a
certificate to each machine, for one role. The certificates serve for TLS, between Dask's processes
and for git, and for the signatures of orders and receipts. Keys are ECDSA P-256, which all TLS
libraries of git support.

Only this module imports cryptography.
"""

from __future__ import annotations

import datetime
import ipaddress
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from prov.errors import ProvError
from prov.files import make_folder, replace_file
from prov.records.keys import is_name

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.x509 import Certificate, Name

Role = Literal["coordinator", "worker"]
DAYS = 825
"""Days for which certificates are valid."""
AUTHORITY, CERTIFICATE = "ca.pem", "certificate.pem"
AUTHORITY_KEY, KEY = "ca.key", "key.pem"
INSTALL = "run `pip install 'git-prov[farm]'`"
MOST = 1 << 20
"""Maximum bytes of a signed message."""


class Forged(ProvError):
    """A message is not signed by a member of the farm with the right role."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """A member of a farm: a folder with its certificate, its key, and the authority."""

    folder: Path

    @property
    def authority(self) -> Path:
        return self.folder / AUTHORITY

    @property
    def certificate(self) -> Path:
        return self.folder / CERTIFICATE

    @property
    def key(self) -> Path:
        return self.folder / KEY

    @staticmethod
    def open(folder: Path) -> Credentials:
        """Return the credentials in a folder. Raises ProvError if a file is missing."""
        credentials = Credentials(folder)
        for path in (credentials.authority, credentials.certificate, credentials.key):
            if not path.is_file():
                raise ProvError(
                    f"{folder} has no {path.name}",
                    hint="run `prov farm init` for a new farm, or `prov farm credentials` for a"
                    " worker",
                )
        _require()
        return credentials

    def git_variables(self) -> dict[str, str]:
        """Return the variables with which git authenticates itself over https."""
        return {
            "GIT_SSL_CAINFO": str(self.authority),
            "GIT_SSL_CERT": str(self.certificate),
            "GIT_SSL_KEY": str(self.key),
        }

    def sign(self, body: bytes) -> bytes:
        """Return a message: a body, its signature, and the certificate of the signer."""
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
        from cryptography.hazmat.primitives.hashes import SHA256

        signature = _load_key(self.key).sign(body, ECDSA(SHA256()))
        message = {
            "body": body.decode(),
            "certificate": self.certificate.read_text(),
            "signature": signature.hex(),
        }
        return canonical(message)

    def verify(self, message: bytes, role: Role) -> tuple[bytes, str]:
        """Return the body of a message and the name of its signer. Raises Forged."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.x509 import load_pem_x509_certificate

        try:
            body, pem, signature = _parts(message)
            certificate = load_pem_x509_certificate(pem)
            authority = load_pem_x509_certificate(self.authority.read_bytes())
            certificate.verify_directly_issued_by(authority)
            public = certificate.public_key()
            if not isinstance(public, EllipticCurvePublicKey):
                raise ValueError("its key is not an ECDSA key")
            public.verify(signature, body, ECDSA(SHA256()))
        except InvalidSignature as error:
            raise Forged("a message has an invalid signature") from error
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise Forged(f"a message is not signed: {error}"[:300]) from error
        if not certificate.not_valid_before_utc <= _now() <= certificate.not_valid_after_utc:
            raise Forged(
                f"the certificate of {name_of(certificate)} has expired",
                hint="run `prov farm credentials` to issue a new one",
            )
        if _role_of(certificate) != role:
            raise Forged(f"{name_of(certificate)} is not a {role} of this farm")
        return body, name_of(certificate)


def canonical(value: object) -> bytes:
    """Return a value as JSON with sorted keys and without spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _parts(message: bytes) -> tuple[bytes, bytes, bytes]:
    """Return body, certificate and signature of a message. Raises ValueError."""
    if len(message) > MOST:
        raise ValueError(f"it has {len(message)} bytes, the limit is {MOST}")
    value = json.loads(message)
    return value["body"].encode(), value["certificate"].encode(), bytes.fromhex(value["signature"])


def create_farm(folder: Path, hosts: Iterable[str]) -> Credentials:
    """Create an authority and the coordinator's certificate, valid for host names or addresses.

    Raises ProvError if the folder has one.
    """
    _require()
    if (folder / AUTHORITY_KEY).exists():
        raise ProvError(f"{folder} is a farm already", hint="use it, or choose a different folder")
    make_folder(folder)
    folder.chmod(0o700)
    key = _new_key()
    name = _name("prov farm", "authority")
    certificate = _issue(name, key, name, key, (), is_authority=True)
    _write(folder / AUTHORITY_KEY, _private_text(key))
    _write(folder / AUTHORITY, certificate)
    return issue(folder, folder, "coordinator", "coordinator", hosts)


def issue(
    authority: Path, folder: Path, name: str, role: Role, hosts: Iterable[str] = ()
) -> Credentials:
    """Issue a certificate into a folder. Raises ProvError."""
    from cryptography.x509 import load_pem_x509_certificate

    _require()
    if not is_name(name):
        raise ProvError(
            f"invalid name {name!r} of a {role}", hint="use letters, digits, dots and dashes"
        )
    if not (authority / AUTHORITY_KEY).is_file():
        raise ProvError(
            f"{authority} has no {AUTHORITY_KEY}",
            hint="run this command where `prov farm init` ran",
        )
    pem = (authority / AUTHORITY).read_bytes()
    signer = load_pem_x509_certificate(pem)
    key = _new_key()
    certificate = _issue(
        _name(name, role), key, signer.subject, _load_key(authority / AUTHORITY_KEY), hosts
    )
    make_folder(folder)
    folder.chmod(0o700)
    _write(folder / KEY, _private_text(key))
    _write(folder / CERTIFICATE, certificate)
    if folder != authority:
        _write(folder / AUTHORITY, pem)
    return Credentials(folder)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _require() -> None:
    try:
        import cryptography  # noqa: F401
    except ImportError as error:
        raise ProvError(f"a farm requires cryptography: {error}", hint=INSTALL) from error


def _new_key() -> EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def _load_key(path: Path) -> EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    return cast("EllipticCurvePrivateKey", load_pem_private_key(path.read_bytes(), None))


def _private_text(key: EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(path: Path, data: bytes) -> None:
    replace_file(path, data, mode=0o600)


def _name(name: str, role: str) -> Name:
    from cryptography.x509 import Name, NameAttribute
    from cryptography.x509.oid import NameOID

    return Name(
        [
            NameAttribute(NameOID.COMMON_NAME, name),
            NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, role),
        ]
    )


def _issue(
    name: Name,
    key: EllipticCurvePrivateKey,
    issuer: Name,
    signer: EllipticCurvePrivateKey,
    hosts: Iterable[str],
    *,
    is_authority: bool = False,
) -> bytes:
    """Return a signed certificate as PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding

    begin = _now() - datetime.timedelta(hours=1)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + datetime.timedelta(days=DAYS))
        .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
    )
    names = [_general_name(host) for host in dict.fromkeys(hosts)]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(signer, SHA256()).public_bytes(Encoding.PEM)


def _general_name(host: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def name_of(certificate: Certificate) -> str:
    """Return the name of a certificate's owner."""
    from cryptography.x509.oid import NameOID

    return _attribute(certificate, NameOID.COMMON_NAME)


def _role_of(certificate: Certificate) -> str:
    from cryptography.x509.oid import NameOID

    return _attribute(certificate, NameOID.ORGANIZATIONAL_UNIT_NAME)


def _attribute(certificate: Certificate, oid: x509.ObjectIdentifier) -> str:
    values = [str(part.value) for part in certificate.subject.get_attributes_for_oid(oid)]
    return values[0] if values else ""
