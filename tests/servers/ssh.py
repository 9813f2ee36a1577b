"""sshd with its own keys and port, run by the current user. It neither reads nor writes ~/.ssh.

The login shell is the real one in the real home, with a separate git configuration.
"""

from __future__ import annotations

import getpass
import os
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.docs import block
from tests.servers.process import Process, on_a_port, program
from tests.servers.server import Server

SERVER = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {private}/host
AuthorizedKeysFile {private}/client.pub
PidFile none
StrictModes no
UsePAM {pam}
PasswordAuthentication no
KbdInteractiveAuthentication no
LogLevel VERBOSE
SetEnv GIT_CONFIG_GLOBAL={private}/gitconfig GIT_CONFIG_NOSYSTEM=1 GIT_TRACE={private}/git.log
"""
CLIENT = """\
User {user}
IdentityFile "{private}/client"
IdentitiesOnly yes
IdentityAgent none
HostKeyAlias prov
UserKnownHostsFile "{private}/known_hosts"
GlobalKnownHostsFile /dev/null
BatchMode yes
"""


@contextmanager
def ssh_server(folder: Path, private: Path, *, v2: bool = True) -> Iterator[Server]:
    """Serve a folder; without `v2`, sshd does not pass GIT_PROTOCOL to git, as in Debian, so git
    uses protocol v0.
    """
    sshd = program("sshd", "openssh-server")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(
            mode=0o755, exist_ok=True
        )  # for sshd's unprivileged process; systemd creates it otherwise
    for name in ("host", "client"):
        key = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(private / name)]
        subprocess.run(key, check=True)
    (private / "known_hosts").write_text(f"prov {(private / 'host.pub').read_text()}")
    (private / "gitconfig").touch()
    user = getpass.getuser()
    (private / "client.config").write_text(CLIENT.format(user=user, private=private))

    def make(port: int) -> Process:
        # Without PAM, users with a locked password cannot log in; with it, root needs more
        # privileges than a container may have.
        text = SERVER.format(port=port, private=private, pam="no" if os.geteuid() == 0 else "yes")
        text += block("ssh", "sshd_config", {}) if v2 else "AcceptEnv LANG LC_*\n"
        config = private / "server.config"
        config.write_text(text)
        ready = f"Server listening on 127.0.0.1 port {port}"
        return Process(
            [sshd, "-D", "-e", "-f", str(config)], private / "sshd.log", lambda said: ready in said
        )

    path = str(folder).replace("{", "{{").replace("}", "}}")  # the address is a format string
    with on_a_port(make) as (port, process):
        yield Server(
            folder=folder,
            base=f"ssh://{user}@127.0.0.1:{{port}}{path}/",
            port=port,
            log=process.log,
            access=private / "git.log",
            mark=r"trace: built-in: git (upload|receive)-pack ",
            environment={
                "GIT_SSH_COMMAND": f"ssh -F {shlex.quote(str(private / 'client.config'))}"
            },
            processes=(process,),
        )
