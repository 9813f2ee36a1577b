"""Git's own transports: fetch, push and ls-remote, run so that a remote can neither hang a build nor make git do
anything but transfer.

The user's configuration is read here, other than for the store: credentials and proxies are in it.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prov.files import write_scratch
from prov.remote.address import SCHEMES, scheme_of, without_password
from prov.remote.errors import Malformed, Unreachable
from prov.store.git import git_program
from prov.store.objects import Oid

PATIENCE = 30.0
"""Seconds without a byte after which a remote is given up."""
_KEPT: tuple[str, ...] = (
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_SSH_VARIANT",
    "GIT_ASKPASS",
    "GIT_PROXY_COMMAND",
    "GIT_SSL_CAINFO",
)
_KEPT += ("GIT_SSL_NO_VERIFY", "GIT_TRACE_PACKET", "GIT_TRACE_CURL", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM")
_FORCED = {
    "protocol.allow": "never",
    **{f"protocol.{scheme}.allow": "always" for scheme in SCHEMES},
    "protocol.version": "2",
    "core.hooksPath": os.devnull,
    "core.alternateRefsCommand": "true",  # the store's refs are many, and nobody's business
    "gc.auto": "0",
    "maintenance.auto": "false",
    "fetch.unpackLimit": "1",
    "transfer.fsckObjects": "true",
    "fetch.recurseSubmodules": "false",
    "push.recurseSubmodules": "no",
    "push.followTags": "false",
    "push.gpgSign": "false",
    "http.lowSpeedLimit": "100",
    "http.lowSpeedTime": str(int(PATIENCE)),
}
# git looks for objects that a shallow repository lacks only when told that it is one
_REFUSED = re.compile(r"does not allow request for unadvertised object")
_CHANGED = re.compile(r"stale info|fetch first|non-fast-forward|failed to update ref|cannot lock ref|remote rejected")
_BROKEN = re.compile(r"fsck error in pack")
# a server that runs git's programs and nothing else, or one that is gone: what is tried next will tell
_NO_SHELL = re.compile(r"Could not read from remote repository", re.IGNORECASE)
_BY_VARIABLE = "GIT_PROTOCOL=version=2 git-upload-pack"
_NO_REF = re.compile(r"couldn't find remote ref")


class Refused(Unreachable):
    """The server does not give out objects by their ids, as servers of the old protocol don't."""


class Stalled(Unreachable):
    """Nothing moved for too long."""


class Changed(Unreachable):
    """Refs at the remote are not what they were: somebody else published meanwhile."""


@dataclass(frozen=True, slots=True)
class Access:
    """How remotes are reached: the caller's environment, and whether anybody is there to answer a question."""

    environment: Mapping[str, str] = field(default_factory=dict)
    interactive: bool = False
    patience: float = PATIENCE

    def variables(self) -> dict[str, str]:
        """Return the environment of a git that transfers."""
        kept = {name: value for name, value in self.environment.items() if not name.startswith("GIT_")}
        kept |= {name: self.environment[name] for name in _KEPT if name in self.environment}
        kept |= {"LC_ALL": "C.UTF-8", "GIT_ALLOW_PROTOCOL": ":".join(SCHEMES)}
        if not self.interactive:
            kept |= {"GIT_TERMINAL_PROMPT": "0", "SSH_ASKPASS_REQUIRE": "never"}
            kept.setdefault("GIT_SSH_COMMAND", "ssh -o BatchMode=yes -o ConnectTimeout=10")
        return kept


@dataclass(frozen=True, slots=True)
class Transport:
    """One remote's URL, and how it is reached."""

    name: str
    url: str
    access: Access

    def fetch(self, git_dir: Path, refspecs: Sequence[str], *options: str) -> None:
        """Fetch refs into a repository. Raises Unreachable, or KeyError for a ref that is not there."""
        arguments = ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--force", *options]
        try:
            self._run(git_dir, [*arguments, "--end-of-options", self.url, *refspecs])
        except Unreachable as error:
            if _NO_REF.search(error.words):
                raise KeyError(refspecs[0]) from error
            raise

    def fetch_objects(self, git_dir: Path, wanted: Sequence[Oid], have: Sequence[Oid], *, by_variable: bool) -> None:
        """Fetch commits by their ids, and of what they hold only what those that are here don't.

        These have no parents; a repository that knows as much is told in `shallow`, without which git compares no
        trees of commits that are not related. Raises Refused where ids can't be asked for. `by_variable` asks an ssh
        server for the protocol that can in a way that needs no setting of sshd's.
        """
        write_scratch(git_dir / "shallow", "".join(sorted(f"{oid.hex()}\n" for oid in have)))
        arguments = ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--stdin"]
        arguments += [f"--negotiation-tip={oid.hex()}" for oid in have]
        if not have:
            (git_dir / "shallow").unlink()
        if by_variable and scheme_of(self.url) == "ssh":
            arguments.append(f"--upload-pack={_BY_VARIABLE}")
        data = "".join(f"{oid.hex()}\n" for oid in wanted).encode()
        try:
            self._run(git_dir, [*arguments, "--end-of-options", self.url], data)
        except Unreachable as error:
            if by_variable and _NO_SHELL.search(error.words):
                raise Refused(self.name, error.words) from error
            raise

    def refs(self, git_dir: Path, pattern: str) -> dict[str, Oid]:
        """Return the remote's refs that match a pattern."""
        rows = self._run(git_dir, ["ls-remote", "--quiet", "--refs", "--end-of-options", self.url, pattern]).decode()
        pairs = (line.split("\t") for line in rows.splitlines())
        return {name: bytes.fromhex(oid) for oid, name in pairs}

    def push(
        self,
        git_dir: Path,
        updates: Mapping[str, Oid | None],
        expected: Mapping[str, Oid | None],
        *,
        negotiate: bool = False,
        by_variable: bool = False,
    ) -> None:
        """Set refs at the remote, all or none, if those in `expected` are what is said there.

        With `negotiate` the server is asked which of the commits it has, with `by_variable` as in `fetch_objects`; one
        that can't tell is sent all of it. Raises Changed when refs are not as expected, else Unreachable.
        """
        arguments = ["-c", f"push.negotiate={str(negotiate).lower()}"]
        if by_variable and scheme_of(self.url) == "ssh" and "=" not in self.url:
            arguments += ["-c", f"remote.{self.url}.uploadpack={_BY_VARIABLE}"]  # of the fetch that git push asks by
        arguments += ["push", "--quiet", "--porcelain", "--no-verify", "--no-signed"]
        arguments += ["--atomic"] if len(updates) > 1 else []
        arguments += [f"--force-with-lease={ref}:{oid.hex() if oid else ''}" for ref, oid in expected.items()]
        specs = [f"{oid.hex() if oid else ''}:{ref}" for ref, oid in updates.items()]
        try:
            self._run(git_dir, [*arguments, "--end-of-options", self.url, *specs])
        except Unreachable as error:
            if expected and _CHANGED.search(error.words):
                raise Changed(self.name, error.words) from error
            raise

    def _run(self, git_dir: Path, arguments: Sequence[str], data: bytes = b"") -> bytes:
        command = [git_program(), "-c", "safe.directory=*"]
        for name, value in _FORCED.items():
            command += ["-c", f"{name}={value}"]
        command += [f"--git-dir={git_dir}", *arguments]
        status, output, words = self._watched(command, git_dir, data)
        if status is None:
            raise Stalled(self.name, f"no byte came or went in {self.access.patience:.0f} s; given up")
        if status:
            # why a ref was not set stands in what push prints
            rows = [row for row in output.decode("utf-8", "replace").splitlines() if row.startswith("!")]
            words = "\n".join([words, *rows])
            said = _words(words.replace(self.url, without_password(self.url)))
            if _BROKEN.search(words):  # it was reached, and is not to be asked again
                raise Malformed(self.name, f"sends what git refuses: {said}")
            raise (Refused if _REFUSED.search(words) else Unreachable)(self.name, said)
        return output

    def _watched(self, command: Sequence[str], git_dir: Path, data: bytes) -> tuple[int | None, bytes, str]:
        """Run git, and end it when nothing moves for too long; return exit status (None: ended), output, complaints."""
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            given.write(data)
            given.seek(0)
            child = subprocess.Popen(
                command,
                stdin=given,
                stdout=out,
                stderr=err,
                env=self.access.variables(),
                start_new_session=not self.access.interactive,
            )
            try:
                status = self._wait(child, git_dir)
            except BaseException:
                _end(child, group=not self.access.interactive)
                raise
            if status is None:
                _end(child, group=not self.access.interactive)
            out.seek(0)
            err.seek(0)
            return status, out.read(), err.read().decode("utf-8", "replace")

    def _wait(self, child: subprocess.Popen[bytes], git_dir: Path) -> int | None:
        moved, seen, pause = time.monotonic(), -1, 0.002
        while True:
            try:
                return child.wait(pause)
            except subprocess.TimeoutExpired:
                pause = min(0.2, pause * 2)
            now = _moved(child.pid, git_dir)
            if now != seen:
                moved, seen = time.monotonic(), now
            elif time.monotonic() - moved > self.access.patience:
                return None


def _moved(pid: int, git_dir: Path) -> int:
    """Return a number that changes while a transfer goes on: bytes received, and bytes that git's processes moved."""
    size = 0
    for folder in (git_dir / "objects" / "pack", git_dir / "objects"):
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            size += sum(entry.stat().st_size for entry in entries)
    return size + _bytes_of_processes(pid)


def _bytes_of_processes(pid: int) -> int:
    total = 0
    with contextlib.suppress(OSError, ValueError):
        rows = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
        total += int(rows["rchar"]) + int(rows["wchar"])
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            total += _bytes_of_processes(int(child))
    return total


def _end(child: subprocess.Popen[bytes], *, group: bool) -> None:
    """End git and what it runs, such as ssh."""
    others = [] if group else _below(child.pid)
    with contextlib.suppress(ProcessLookupError):
        if group:
            os.killpg(child.pid, signal.SIGKILL)
        else:
            child.kill()
    for pid in others:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    child.wait()


def _below(pid: int) -> list[int]:
    found = []
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            found += [int(child), *_below(int(child))]
    return found


def _words(text: str) -> str:
    """Return the lines that tell what is wrong, in one; what a server says goes to no terminal as it is."""
    lines = [line.strip() for line in re.split(r"[\r\n]+", text) if line.strip()]
    telling = [line for line in lines if line.startswith(("fatal:", "error:", "remote:", "!", "ssh:"))] or lines
    said = "; ".join(dict.fromkeys(telling)) or "git failed without a word"
    return "".join(letter if letter.isprintable() else "?" for letter in said)[:1000]


def make_scratch(folder: Path, *alternates: Path) -> Path:
    """Make an empty repository that also reads the objects of others; without templates, and quicker than git."""
    for name in ("objects/info", "objects/pack", "refs/heads"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    write_scratch(folder / "HEAD", "ref: refs/heads/none\n")
    write_scratch(folder / "config", "[core]\n\trepositoryformatversion = 0\n\tbare = true\n")
    if alternates:
        write_scratch(folder / "objects/info/alternates", "".join(f"{path}/objects\n" for path in alternates))
    return folder
