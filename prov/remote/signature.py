"""Sign publications and verify signatures with ssh-keygen or GnuPG."""

from __future__ import annotations

import contextlib
import re
import subprocess
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from prov.processes import ends_with_signals
from prov.remote.trust import Seal
from prov.transport.errors import RemoteError

NAMESPACE = "prov-publication"
"""The ssh namespace of a publication's signature; a signature in another namespace is invalid."""
_NOTATION = "namespace@git-prov"
"""The notation that holds NAMESPACE in a GnuPG signature; GnuPG has no namespaces."""
GPG = "gpg:"
_SSH_MARK = b"-----BEGIN SSH SIGNATURE-----"
_GPG_MARK = b"-----BEGIN PGP SIGNATURE-----"
_SECONDS = 30
_GPG_KEY = "-----BEGIN PGP"
_SSH_KEY = re.compile(r"(?:^|\s)(?:ssh-|ecdsa-|sk-)\S+ AAAA", re.MULTILINE)
_VALID = re.compile(
    r'valid-(?:after|before)="?(\d{8}(?:\d{4}(?:\d{2})?)?)(Z?)\b', re.IGNORECASE | re.ASCII
)


def sign(text: bytes, key: str) -> bytes:
    """Return a detached signature of a text. Raises RemoteError with the tool's message."""
    if key.startswith(GPG):
        command = [
            "gpg",
            "--batch",
            "--armor",
            "--detach-sign",
            "--set-notation",
            f"{_NOTATION}={NAMESPACE}",
        ]
        command += ["--local-user", key.removeprefix(GPG)]
    else:
        command = ["ssh-keygen", "-q", "-Y", "sign", "-n", NAMESPACE, "-f", key]
    answer = _run(command, text)
    if answer.returncode or not answer.stdout:
        message = answer.stderr.decode("utf-8", "replace").strip()
        reason = message or f"exit status {answer.returncode}"
        hint = "if the key has a passphrase, load it with `ssh-add` and set --key to its .pub file"
        raise RemoteError(f"cannot sign with {key}: {reason}", hint=hint)
    return answer.stdout


def examine(text: bytes, signature: bytes, signers: str) -> Seal:
    """Verify the signature of a text; `signers` is the path of the allowed signers, or empty.

    Raises RemoteError if that file or the signing tool is missing.
    """
    if signers and not Path(signers).is_file():
        raise RemoteError(
            f"no such file of allowed signers: {signers}",
            hint="run `prov remote add` again with --signers FILE",
        )
    with tempfile.TemporaryDirectory(prefix="prov-") as folder:
        path = Path(folder, "signature")
        path.write_bytes(signature)
        if signature.startswith(_GPG_MARK):
            return _examine_gpg(text, path, signers)
        if signature.startswith(_SSH_MARK):
            return _examine_ssh(text, path, signers)
    return Seal("", good=False, allowed=False)


def _examine_ssh(text: bytes, signature: Path, signers: str) -> Seal:
    base = ["ssh-keygen", "-Y"]
    tail = ["-n", NAMESPACE, "-s", str(signature)]
    checked = _run([*base, "check-novalidate", *tail], text)
    match = re.search(rb"key (\S+)", checked.stdout)
    key = match[1].decode("ascii", "replace") if match else ""
    if checked.returncode or not signers:
        return Seal(key, good=not checked.returncode, allowed=False)
    names = _run([*base, "find-principals", "-f", signers, "-s", str(signature)], b"")
    allowed = any(
        _run([*base, "verify", "-f", signers, "-I", name, *tail], text).returncode == 0
        for name in names.stdout.decode("utf-8", "replace").splitlines()
        if not names.returncode and not name.startswith("-")
    )
    return Seal(key, good=True, allowed=allowed)


def _examine_gpg(text: bytes, signature: Path, signers: str) -> Seal:
    """Verify a GnuPG signature. Without a file of public keys, no GnuPG signature is good."""
    home = signature.parent / "gnupg"
    home.mkdir(mode=0o700)
    gpg = [
        "gpg",
        "--homedir",
        str(home),
        "--batch",
        "--no-autostart",
        "--no-auto-key-retrieve",
        "--trust-model",
    ]
    gpg += ["always", "--weak-digest", "SHA1"]  # signatures must not depend on SHA-1
    if signers:
        _run([*gpg, "--quiet", "--import", signers], b"")
    checked = _run([*gpg, "--status-fd", "1", "--verify", str(signature), "-"], text)
    valid, unknown, honest = (
        re.search(rb"^\[GNUPG:\] %s (\S+)" % word, checked.stdout, re.MULTILINE)
        for word in (b"VALIDSIG", b"NO_PUBKEY", b"GOODSIG")
    )
    named = valid or unknown
    key = named[1].decode("ascii", "replace") if named else ""
    notation = (
        rb"^\[GNUPG:\] NOTATION_NAME %s\n(?:\[GNUPG:\] NOTATION_FLAGS .*\n)?\[GNUPG:\]"
        rb" NOTATION_DATA %s$"
    )
    meant = (
        re.search(notation % (_NOTATION.encode(), NAMESPACE.encode()), checked.stdout, re.MULTILINE)
        is not None
    )
    # without GOODSIG the key is expired or revoked; gpg cannot verify a signature by an unknown key
    good = checked.returncode == 0 and valid is not None and meant
    unknown_one = bool(signers) and unknown is not None
    return Seal(key, good=good or unknown_one, allowed=good and honest is not None)


def validity(signers: str, now: float) -> str:
    """Return a text that changes when a key in a file of allowed signers becomes valid or expires.

    The text counts the start and expiry dates that have passed. The file does not contain the dates
    of certificates, so with a certificate authority the text also holds the day. Raises RemoteError
    if GnuPG is needed but not installed.
    """
    data = Path(signers).read_bytes() if signers and Path(signers).is_file() else b""
    text = data.decode("utf-8", "replace")
    if not text.lstrip().startswith(_GPG_KEY) and _SSH_KEY.search(text):
        day = f" {now // 86_400:.0f}" if "cert-authority" in text.lower() else ""
        moments = [_moment(digits, utc=bool(utc)) for digits, utc in _VALID.findall(text)]
    else:
        day = ""
        moments = _expirations(signers) if data else []
    return f"{sum(1 for moment in moments if moment <= now)}{day}"


def _moment(digits: str, *, utc: bool) -> float:
    """Convert ssh's `YYYYMMDD[HHMM[SS]]` to seconds since the epoch; return 0 if it is invalid."""
    form = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}[len(digits)]
    try:
        local = datetime.strptime(digits, form)
    except ValueError:
        return 0.0
    return local.replace(tzinfo=UTC).timestamp() if utc else local.timestamp()


def _expirations(signers: str) -> list[float]:
    """Return the expiry times of the keys in a GnuPG file, in seconds since the epoch."""
    with tempfile.TemporaryDirectory(prefix="prov-") as home:
        options = ["--homedir", home, "--batch", "--no-autostart", "--with-colons", "--show-keys"]
        answer = _run(["gpg", *options, signers], b"")
    rows = (line.split(":") for line in answer.stdout.decode("utf-8", "replace").splitlines())
    return [
        float(row[6])
        for row in rows
        if row[0] in ("pub", "sub") and len(row) > 6 and row[6].isdigit()
    ]


def _run(command: Sequence[str], data: bytes) -> subprocess.CompletedProcess[bytes]:
    try:
        with contextlib.suppress(subprocess.TimeoutExpired), ends_with_signals():
            return subprocess.run(
                command,
                input=data,
                capture_output=True,
                check=False,
                timeout=_SECONDS,
                start_new_session=True,
            )
    except FileNotFoundError as error:
        raise RemoteError(
            f"{command[0]} is not installed: signatures need it", hint=f"install {command[0]}"
        ) from error
    raise RemoteError(
        f"{command[0]} did not finish within {_SECONDS} s",
        hint="if the key has a passphrase, load it into the agent first",
    )
