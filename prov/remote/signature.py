"""Signing and looking at signatures, by ssh-keygen or GnuPG: what people have keys for already."""

from __future__ import annotations

import contextlib
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from prov.remote.errors import RemoteError
from prov.remote.trust import Seal

NAMESPACE = "prov-publication"
"""What a key signs for; ssh-keygen takes no signature made for something else."""
GPG = "gpg:"
_SSH_MARK = b"-----BEGIN SSH SIGNATURE-----"
_GPG_MARK = b"-----BEGIN PGP SIGNATURE-----"
_SECONDS = 30


def sign(text: bytes, key: str) -> bytes:
    """Return a detached signature of a text. Raises RemoteError in the words of the tool."""
    if key.startswith(GPG):
        command = ["gpg", "--batch", "--armor", "--detach-sign", "--local-user", key.removeprefix(GPG)]
    else:
        command = ["ssh-keygen", "-q", "-Y", "sign", "-n", NAMESPACE, "-f", key]
    done = _run(command, text)
    if done.returncode or not done.stdout:
        words = done.stderr.decode("utf-8", "replace").strip() or f"exit status {done.returncode}"
        hint = "a key with a passphrase has to be in the agent; name its .pub file then"
        raise RemoteError(f"can't sign with {key}: {words}", hint=hint)
    return done.stdout


def examine(text: bytes, signature: bytes, signers: str) -> Seal:
    """Return what a signature says of a text, `signers` being the file of allowed ones, or empty.

    Raises RemoteError when that file can't be read or the tool is not there.
    """
    if signers and not Path(signers).is_file():
        raise RemoteError(f"the file of allowed signers is gone: {signers}", hint="`prov remote add` names another")
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
    found = re.search(rb"key (\S+)", checked.stdout)
    key = found[1].decode("ascii", "replace") if found else ""
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
    """Without a file of public keys there is nothing to check with, so that no signature of GnuPG's is good."""
    home = signature.parent / "gnupg"
    home.mkdir(mode=0o700)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--no-autostart", "--no-auto-key-retrieve", "--trust-model"]
    gpg += ["always", "--weak-digest", "SHA1"]  # nothing that is signed rests on SHA-1
    if signers:
        _run([*gpg, "--quiet", "--import", signers], b"")
    checked = _run([*gpg, "--status-fd", "1", "--verify", str(signature), "-"], text)
    valid, unknown, honest = (
        re.search(rb"^\[GNUPG:\] %s (\S+)" % word, checked.stdout, re.MULTILINE)
        for word in (b"VALIDSIG", b"NO_PUBKEY", b"GOODSIG")
    )
    named = valid or unknown
    key = named[1].decode("ascii", "replace") if named else ""
    # without GOODSIG the key is expired or revoked; of an unknown key nobody can say more than that it is unknown
    good = checked.returncode == 0 and valid is not None
    unknown_one = bool(signers) and unknown is not None
    return Seal(key, good=good or unknown_one, allowed=good and honest is not None)


def _run(command: Sequence[str], data: bytes) -> subprocess.CompletedProcess[bytes]:
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return subprocess.run(
                command, input=data, capture_output=True, check=False, timeout=_SECONDS, start_new_session=True
            )
    except FileNotFoundError as error:
        raise RemoteError(f"{command[0]} is not installed, and a signature needs it", hint="install it") from error
    raise RemoteError(f"{command[0]} gave no answer in {_SECONDS} s", hint="does it ask for a passphrase?")
