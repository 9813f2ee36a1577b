"""Keys for a test: two ssh keys, and GnuPG with its own home."""

from __future__ import annotations

import subprocess
from pathlib import Path


def make_ssh_key(folder: Path, name: str) -> Path:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", folder / name], check=True
    )
    return folder / name


def allow(signers: Path, *keys: Path, options: str = "") -> None:
    signers.write_text(
        "".join(
            f"{key.name}@example.org {options}{key.with_suffix('.pub').read_text()}" for key in keys
        )
    )


class Keys:
    """Two keys, one of them allowed."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.signers = folder / "signers"
        self.allowed, self.other = make_ssh_key(folder, "allowed"), make_ssh_key(folder, "other")
        allow(self.signers, self.allowed)


def sign_with(text: bytes, key: Path, namespace: str = "prov-publication") -> bytes:
    command = ["ssh-keygen", "-q", "-Y", "sign", "-n", namespace, "-f", str(key)]
    return subprocess.run(command, input=text, capture_output=True, check=True).stdout


class Gpg:
    """GnuPG with its own home."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "g"
        self.home.mkdir(mode=0o700, parents=True)
        self.run(
            "--passphrase",
            "",
            "--quick-gen-key",
            "builder <b@example.org>",
            "ed25519",
            "sign",
            "never",
        )
        rows = self.run("--with-colons", "--list-keys").decode().splitlines()
        self.key = next(row.split(":")[9] for row in rows if row.startswith("fpr"))

    def run(self, *arguments: str, data: bytes = b"") -> bytes:
        command = ["gpg", "--homedir", str(self.home), "--batch", "--quiet", "--yes", *arguments]
        return subprocess.run(command, input=data, capture_output=True, check=True).stdout

    def sign(
        self, text: bytes, *options: str, notation: str = "namespace@git-prov=prov-publication"
    ) -> bytes:
        notations = ["--set-notation", notation] if notation else []
        return self.run("--armor", *options, *notations, "--detach-sign", data=text)

    def export(self, path: Path) -> str:
        path.write_bytes(self.run("--armor", "--export"))
        return str(path)

    def stop(self) -> None:
        subprocess.run(["gpgconf", "--homedir", str(self.home), "--kill", "all"], check=False)
