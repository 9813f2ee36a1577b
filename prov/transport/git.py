"""Git's own transports: fetch, push and ls-remote, run so that a remote can neither hang a build,
nor fill memory or disk, nor make git do anything but transfer.

The user's configuration applies here, other than for the store: see `access`.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prov.files import write_scratch
from prov.processes import ends_with_signals
from prov.store.cat_file import limit_memory
from prov.store.git import git_environment, git_program
from prov.store.objects import Oid
from prov.transport.access import PATIENCE, Access, resolved_url
from prov.transport.address import SCHEMES, folder_of, git_dir_of, scheme_of, without_password
from prov.transport.answers import (
    Rejection,
    Verdict,
    hint_for,
    judge_push,
    lock_is_held,
    rejections,
    telling_lines,
)
from prov.transport.errors import Malformed, Unreachable
from prov.transport.locks import clear_stale_locks
from prov.transport.pace import LEAST, Pace, check_room

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
    "http.followRedirects": "initial",
}
_IN_A_FOLDER = (
    f"core.hooksPath={os.devnull}",
    "core.alternateRefsCommand=true",
    "core.fsmonitor=false",
    "receive.autogc=false",
    "receive.denyCurrentBranch=refuse",
)
"""Settings of the git that takes a push in a folder of this machine: it runs as this user, and no
program of the folder's. It does not see the settings of the git that sends.
"""
_STREAMING = "core.bigFileThreshold=16m"
# git looks for objects that a shallow repository lacks only when told that it is one
_REFUSED = re.compile(r"does not allow request for unadvertised object")
_BROKEN = re.compile(r"fsck error in pack")
# a server that runs git's programs and nothing else, or one that is gone: what is tried next will
# tell
_NO_SHELL = re.compile(r"Could not read from remote repository", re.IGNORECASE)
_BY_VARIABLE = "GIT_PROTOCOL=version=2 git-upload-pack"
_NO_REF = re.compile(r"couldn't find remote ref")
RECEIVED = 1 << 40
"""Bytes of packs, where nothing else is said."""
_WINDOW = 10.0
"""Times the patience: in so long a time, as many bytes move as would in one patience at the least
speed.
"""
_OUTPUT = 64 << 20
"""Bytes that git may print."""
_WORDS = 1 << 16
"""Bytes of its complaints that are read."""
MEMORY = 4 << 30
"""Bytes of memory for a git that talks to another machine, whose answers it may have to hold."""
_LOCK_PATIENCE = 60.0
"""Seconds to wait for a lock in a remote that is a folder: longer than a killed push's counts as
one in use.
"""


class Refused(Unreachable):
    """The server does not give out objects by their ids, as servers of the old protocol don't."""


class Ended(Unreachable):
    """The server's git, or the connection to it, ended before it answered."""


class Stalled(Unreachable):
    """Nothing, or next to nothing, moved for too long."""


class TooMuch(Unreachable):
    """The server sends more than it may."""


class Changed(Unreachable):
    """Refs at the remote are not what they were: another process published meanwhile."""


class PushFailed(Unreachable):
    """A push did not set its refs. `rejected`: those that git reports, with the reasons."""

    def __init__(self, remote: str, words: str, rejected: Sequence[Rejection]) -> None:
        super().__init__(remote, words, hint=hint_for(words))
        self.rejected = rejected


class Declined(Unreachable):
    """The server forbids a push, by a setting, a hook or a rule: the same push never succeeds
    there.
    """


@dataclass(frozen=True, slots=True)
class Transport:
    """One remote's URL, and how it is reached."""

    name: str
    url: str
    access: Access

    @property
    def is_ssh(self) -> bool:
        return scheme_of(resolved_url(self.url, self.access)) == "ssh"

    @property
    def folder(self) -> Path | None:
        """The remote's repository, where it is on a disk of this machine."""
        folder = folder_of(resolved_url(self.url, self.access))
        return git_dir_of(folder) if folder else None

    def fetch(
        self, git_dir: Path, refspecs: Sequence[str], *options: str, most: int = RECEIVED
    ) -> None:
        """Fetch refs into a repository. Raises Unreachable, or KeyError for a ref that is not
        there.

        TooMuch where its packs would have more than `most` bytes then.
        """
        arguments = [
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-write-fetch-head",
            "--force",
            *self._sender(),
            *options,
        ]
        try:
            self._run(git_dir, [*arguments, "--end-of-options", self.url, *refspecs], most=most)
        except Unreachable as error:
            if _NO_REF.search(error.words):
                raise KeyError(refspecs[0]) from error
            raise

    def _sender(self) -> list[str]:
        """Return the option by which a folder's git, which runs here, sends large files without
        reading them whole.
        """
        if self.folder is None:
            return []
        return [f"--upload-pack={shlex.join([git_program(), '-c', _STREAMING, 'upload-pack'])}"]

    def fetch_objects(
        self, git_dir: Path, wanted: Sequence[Oid], have: Sequence[Oid], *, by_variable: bool
    ) -> None:
        """Fetch commits by their ids, and of what they hold only what those that are here don't.

        These have no parents; a repository that knows as much is told in `shallow`, without which
        git compares no trees of commits that are not related. Raises Refused where ids can't be
        asked for. `by_variable` asks an ssh server for the protocol that can in a way that needs no
        setting of sshd's.
        """
        write_scratch(git_dir / "shallow", "".join(sorted(f"{oid.hex()}\n" for oid in have)))
        arguments = ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--stdin"]
        arguments += [f"--negotiation-tip={oid.hex()}" for oid in have]
        if not have:
            (git_dir / "shallow").unlink()
        arguments += self._sender()
        if by_variable and self.is_ssh:
            arguments.append(f"--upload-pack={_BY_VARIABLE}")
        data = "".join(f"{oid.hex()}\n" for oid in wanted).encode()
        try:
            self._run(git_dir, [*arguments, "--end-of-options", self.url], data)
        except Ended as error:
            if by_variable:
                raise Refused(self.name, error.words) from error
            raise

    def refs(self, git_dir: Path, pattern: str) -> dict[str, Oid]:
        """Return the remote's refs that match a pattern."""
        rows = self._run(
            git_dir, ["ls-remote", "--quiet", "--refs", "--end-of-options", self.url, pattern]
        )
        # not splitlines: a name may hold what Unicode takes for the end of a line
        pairs = (
            line.partition("\t") for line in rows.decode("utf-8", "surrogateescape").split("\n")
        )
        return {name: bytes.fromhex(oid) for oid, _, name in pairs if len(oid) == 40}

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

        With `negotiate` the server is asked which of the commits it has, with `by_variable` as in
        `fetch_objects`; one that can't tell is sent all of it. Raises Changed when another process
        was first, Declined when the server forbids it, else Unreachable.
        """
        arguments = ["-c", f"push.negotiate={str(negotiate).lower()}"]
        if by_variable and self.is_ssh and "=" not in self.url:
            arguments += [
                "-c",
                f"remote.{self.url}.uploadpack={_BY_VARIABLE}",
            ]  # of the fetch that git push asks by
        arguments += ["push", "--quiet", "--porcelain", "--no-verify", "--no-signed"]
        folder = self.folder
        if folder is not None:
            arguments.append(f"--receive-pack={_receiving_command(self.name, folder)}")
        arguments += ["--atomic"] if len(updates) > 1 else []
        arguments += [
            f"--force-with-lease={ref}:{oid.hex() if oid else ''}" for ref, oid in expected.items()
        ]
        # `+` would set aside the lease of a ref that has one
        specs = [
            f"{'+' if oid and ref not in expected else ''}{oid.hex() if oid else ''}:{ref}"
            for ref, oid in updates.items()
        ]
        command = [*arguments, "--end-of-options", self.url, *specs]
        end = time.monotonic() + _LOCK_PATIENCE
        while True:
            try:
                self._run(git_dir, command)
                return
            except PushFailed as error:
                if not self._wait_for_lock(error.words, end):
                    raise self._judged(git_dir, error, expected) from error

    def _wait_for_lock(self, words: str, end: float) -> bool:
        """Return whether a push that met a lock is worth another try: in a folder, where stale
        locks are removed.
        """
        if not lock_is_held(words) or time.monotonic() > end:
            return False
        folder = self.folder
        if folder is None:
            return False
        if not clear_stale_locks(folder):
            time.sleep(random.uniform(0.05, 0.5))
        return True

    def _judged(
        self, git_dir: Path, error: PushFailed, expected: Mapping[str, Oid | None]
    ) -> Unreachable:
        """Return the error that says why a push set no refs."""
        verdict = judge_push(error.rejected, error.words)
        if verdict is Verdict.UNCLEAR:
            verdict = Verdict.RACE if self._differs(git_dir, expected) else Verdict.DECLINED
        by_git = any(not each.by_server for each in error.rejected)
        if verdict is Verdict.RACE and by_git and not self._differs_soon(git_dir, expected):
            said = (
                "the server shows pushes other refs than fetches (receive.hideRefs is set there):"
                f" {error.words}"
            )
            return Declined(self.name, said, hint=hint_for(said))
        if verdict is Verdict.RACE:
            return Changed(self.name, error.words)
        if verdict is Verdict.DECLINED:
            return Declined(
                self.name,
                f"the server declines the push: {error.words}",
                hint=hint_for(error.words),
            )
        return error

    def _differs_soon(self, git_dir: Path, expected: Mapping[str, Oid | None]) -> bool:
        """The same, where the server that answers may be a moment behind the one that takes
        pushes.
        """
        for pause in (0.0, 1.0, 2.0):
            time.sleep(pause)
            if self._differs(git_dir, expected):
                return True
        return False

    def _differs(self, git_dir: Path, expected: Mapping[str, Oid | None]) -> bool:
        """Return whether refs at the remote are not what a push expected."""
        return any(self.refs(git_dir, ref).get(ref) != oid for ref, oid in expected.items())

    def _run(
        self, git_dir: Path, arguments: Sequence[str], data: bytes = b"", *, most: int = RECEIVED
    ) -> bytes:
        command = [git_program(), "-c", "safe.directory=*"]
        for name, value in _FORCED.items():
            command += ["-c", f"{name}={value}"]
        if (
            "fetch" in arguments
        ):  # larger files are streamed to the disk; a push compares them with earlier ones
            command += ["-c", _STREAMING]
        command += [f"--git-dir={git_dir}", *arguments]
        status, output, words = self._watched(command, git_dir, data, most)
        if status:
            # why a ref was not set is in what push prints
            rejected = rejections(output.decode("utf-8", "replace").splitlines())
            said = telling_lines(words.replace(self.url, without_password(self.url)), rejected)
            if _BROKEN.search(words):  # it was reached, and is not to be asked again
                raise Malformed(self.name, f"sends what git refuses: {said}")
            if _REFUSED.search(words):
                raise Refused(self.name, said)
            if "push" in arguments:
                raise PushFailed(self.name, said, rejected)
            raise (Ended if _NO_SHELL.search(words) else Unreachable)(
                self.name, said, hint=hint_for(said)
            )
        return output

    def _watched(
        self, command: Sequence[str], git_dir: Path, data: bytes, most: int
    ) -> tuple[int, bytes, str]:
        """Run git; return exit status, output, complaints.

        Raises Stalled, TooMuch, and Unreachable for a full disk.
        """
        with (
            tempfile.TemporaryFile() as given,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
            ends_with_signals(),
        ):
            given.write(data)
            given.seek(0)
            child = subprocess.Popen(
                command,
                stdin=given,
                stdout=out,
                stderr=err,
                env=self._variables(),
                start_new_session=not self.access.interactive,
            )
            try:
                if self.folder is None:
                    limit_memory(child.pid, MEMORY)
                status = self._wait(child, git_dir, most, (out.fileno(), err.fileno()))
            except BaseException:
                _end(child, group=not self.access.interactive)
                _remove_parts(git_dir)
                raise
            out.seek(0)
            err.seek(0)
            return status, out.read(_OUTPUT), err.read(_WORDS).decode("utf-8", "replace")

    def _variables(self) -> dict[str, str]:
        """Return git's environment, in which no server can redirect it from https to http."""
        variables = self.access.variables()
        if scheme_of(resolved_url(self.url, self.access)) == "https":
            allowed = variables["GIT_ALLOW_PROTOCOL"].split(":")
            variables["GIT_ALLOW_PROTOCOL"] = ":".join(each for each in allowed if each != "http")
        return variables

    def _wait(
        self, child: subprocess.Popen[bytes], git_dir: Path, most: int, outputs: Sequence[int]
    ) -> int:
        patience = self.access.patience
        pace = Pace(_WINDOW * patience, int(LEAST * patience))
        begun = _size(git_dir)
        moved, seen, pause = time.monotonic(), 0, 0.002
        while True:
            try:
                return child.wait(pause)
            except subprocess.TimeoutExpired:
                pause = min(0.2, pause * 2)
            size = _size(git_dir)
            if size > most or sum(os.fstat(fd).st_size for fd in outputs) > _OUTPUT:
                raise TooMuch(
                    self.name,
                    f"it sends more than {most} bytes, or more than that of lists of refs;"
                    " given up",
                )
            check_room(self.name, git_dir, size - begun)
            now = size + _bytes_of_processes(child.pid)
            if now != seen:
                moved = time.monotonic()
                pace.add(max(0, now - seen))
                seen = now
            if time.monotonic() - moved > patience:
                raise Stalled(self.name, f"no byte came or went in {patience:.0f} s; given up")
            if pace.left() <= 0:
                raise Stalled(
                    self.name,
                    f"fewer than {pace.least} bytes came or went in {pace.window:.0f} s; given up",
                )


def _receiving_command(remote: str, folder: Path) -> str:
    """Return the command that takes a push in a folder of this machine.

    Raises Declined for a folder whose configuration names hooks, which newer versions of git run
    and none can disable.
    """
    command = [
        "config",
        f"--file={folder / 'config'}",
        "--includes",
        "--name-only",
        "--get-regexp",
        r"^hook\.",
    ]
    options = [word for setting in _IN_A_FOLDER for word in ("-c", setting)]
    asked = subprocess.run(
        [git_program(), f"--git-dir={os.devnull}", *command],
        env=git_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    if asked.stdout:
        name = asked.stdout.split()[0].decode("utf-8", "replace")
        raise Declined(
            remote,
            f"{folder / 'config'} sets {name}, a hook that would run here",
            hint="remove it, or publish there by ssh",
        )
    return shlex.join([git_program(), *options, "receive-pack"])


def _remove_parts(git_dir: Path) -> None:
    """Remove what a git that was ended has left of a pack."""
    for part in (git_dir / "objects" / "pack").glob("tmp_*"):
        with contextlib.suppress(OSError):
            part.unlink()


def _size(git_dir: Path) -> int:
    """Return the bytes of the packs of a repository, finished or not; a number that grows while a
    transfer goes on.
    """
    size = 0
    for folder in (git_dir / "objects" / "pack", git_dir / "objects"):
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            size += sum(entry.stat().st_size for entry in entries)
    return size


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


def make_scratch(folder: Path, *alternates: Path) -> Path:
    """Make an empty repository that also reads the objects of others; without templates, and
    quicker than git.
    """
    for name in ("objects/info", "objects/pack", "refs/heads"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    write_scratch(folder / "HEAD", "ref: refs/heads/none\n")
    write_scratch(folder / "config", "[core]\n\trepositoryformatversion = 0\n\tbare = true\n")
    if alternates:
        write_scratch(
            folder / "objects/info/alternates", "".join(f"{path}/objects\n" for path in alternates)
        )
    return folder
