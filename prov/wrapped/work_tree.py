"""Ask git about the work tree that contains a folder, without trusting its repository.

The repository can come from another person, and its configuration, attributes and hooks can name
programs. git therefore works in a scratch directory with links to the repository's objects, refs
and index, and with a configuration of which prov has written each line (see `prov.store.view`). It
writes nothing to the repository. The user's own git configuration applies, since it names the file
with global excludes.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prov.errors import StoreError
from prov.store.git import error_text, git_environment, git_program
from prov.store.view import read_regular
from prov.worktree.exclude import escaped

_COMMON = ("objects", "refs", "packed-refs", "shallow", "reftable")
_INFO = ("info/exclude", "info/attributes")
_PLAIN_NAMES = (
    *("filemode", "symlinks", "ignorecase", "trustctime", "checkstat", "autocrlf", "eol"),
    *("precomposeunicode", "sparsecheckout", "sparsecheckoutcone"),
)
"""Settings in `core` that decide whether a file has changed."""
_PLAIN = re.compile(
    rb"^[ \t]*(%s)[ \t]*=[ \t]*([a-z0-9]+)[ \t]*$" % "|".join(_PLAIN_NAMES).encode(),
    re.IGNORECASE | re.MULTILINE,
)
_FORMAT = re.compile(
    rb"^[ \t]*(objectformat|refstorage)[ \t]*=[ \t]*([a-z0-9]+)[ \t]*$",
    re.IGNORECASE | re.MULTILINE,
)
_GIT_FILE = b"gitdir: "
_APPEND = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_OBJECT_ID = re.compile(rb"[0-9a-f]{40}(?:[0-9a-f]{24})?")


@dataclass(frozen=True, slots=True)
class Revision:
    """The commit of a work tree."""

    commit: str
    """The id of HEAD; empty before the first commit."""
    is_dirty: bool
    """Whether a tracked file, or the commit of a submodule, differs from HEAD."""


@dataclass(frozen=True, slots=True)
class WorkTree:
    """A work tree, which may be that of a submodule or a linked one."""

    top: Path
    git_dir: Path
    common: Path
    """The git directory with the objects; differs from `git_dir` for a linked work tree."""

    @staticmethod
    def containing(folder: Path) -> WorkTree | None:
        """Return the innermost work tree that contains a folder, or None. Starts no process."""
        start = folder.resolve()
        for top in (start, *start.parents):
            work_tree = WorkTree.at(top)
            if work_tree is not None:
                return work_tree
        return None

    @staticmethod
    def at(top: Path) -> WorkTree | None:
        """Return the work tree of which a folder is the top, or None. Starts no process."""
        git_dir = _git_dir(top / ".git")
        if git_dir is None:
            return None
        common = git_dir
        with contextlib.suppress(OSError, StoreError):
            common = git_dir / os.fsdecode(read_regular(git_dir / "commondir").strip())
        common = common.resolve()
        return WorkTree(top, git_dir, common) if (common / "objects").is_dir() else None

    def revision(self) -> Revision:
        """Return the commit and whether it was changed. Runs one process. Raises StoreError.

        Untracked files and changes in submodules do not count.
        """
        options = ["--porcelain=v2", "--branch", "-z", "--untracked-files=no"]
        answer = self._ask(["status", *options, "--ignore-submodules=dirty"])
        lines = answer.split(b"\0")
        commits = [line.rpartition(b" ")[2] for line in lines if line.startswith(b"# branch.oid ")]
        if len(commits) != 1:
            raise StoreError(f"{self.top}: unexpected output of git status: {answer[:200]!r}")
        commit = commits[0].decode() if _OBJECT_ID.fullmatch(commits[0]) else ""
        return Revision(commit, any(line and not line.startswith(b"#") for line in lines))

    def ignored(self, folder: Path) -> list[bytes]:
        """Return the untracked paths that git ignores in a folder, relative to `top`.

        The path of a folder ends in a slash. A folder is also listed if git ignores all files in
        it. If git ignores `folder` or a folder above it, only that one is listed. Folders with a
        repository of their own are not searched. Runs one process. Raises StoreError.
        """
        options = ["-z", "--others", "--ignored", "--exclude-standard", "--directory"]
        # run at the top, since git fails in a folder below an ignored one
        below = folder.resolve().relative_to(self.top)
        answer = self._ask(["ls-files", *options, "--", f":(literal){below}"])
        return [path for path in answer.split(b"\0") if path]

    def is_ignored(self, path: Path) -> bool:
        """Return whether git ignores an absolute path in the work tree. Runs one process."""
        with self._command() as (command, environment):
            words = [*command, "check-ignore", "--quiet", "--", str(path)]
            return _call(words, environment, self.top).returncode == 0

    def exclude(self, folder: Path) -> Path:
        """Make git ignore a folder in the work tree, and return the file that states it.

        This is `info/exclude`, which is not committed, and which linked work trees share. Raises
        OSError if it cannot be written.
        """
        path = self.common / "info" / "exclude"
        line = os.fsencode(f"/{escaped(folder.resolve().relative_to(self.top))}/\n")
        try:
            _append_line(path, line)
        except OSError as error:
            error.filename = str(path)
            raise
        return path

    def _ask(self, arguments: Sequence[str]) -> bytes:
        with self._command() as (command, environment):
            result = _call([*command, *arguments], environment, self.top)
        if result.returncode:
            raise StoreError(f"{self.top}: git {arguments[0]} failed: {error_text(result)}")
        return result.stdout

    @contextlib.contextmanager
    def _command(self) -> Iterator[tuple[list[str], dict[str, str]]]:
        """Yield the start of git's command line, and its environment."""
        with tempfile.TemporaryDirectory(prefix="prov-git-") as folder:
            view = Path(folder)
            (view / "config").write_bytes(self._configuration())
            (view / "HEAD").write_bytes(_content(self.git_dir / "HEAD"))
            (view / "info").mkdir()
            lent = [(self.common / name, name) for name in (*_COMMON, *_INFO)]
            lent += [(self.git_dir / name, name) for name in ("index", "info/sparse-checkout")]
            lent += [(path, path.name) for path in self.git_dir.glob("sharedindex.*")]
            for path, name in lent:
                if path.is_file() or path.is_dir():  # git would block on a pipe
                    (view / name).symlink_to(path)
            yield (
                [
                    *(git_program(), "--no-pager", "--no-optional-locks"),
                    *("-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}"),
                    *(f"--git-dir={view}", f"--work-tree={self.top}"),
                ],
                git_environment(user_configuration=True),
            )

    def _configuration(self) -> bytes:
        """Return a configuration with the formats of the repository and its plain settings."""
        data = _content(self.common / "config") + b"\n" + _content(self.git_dir / "config.worktree")
        lines = [b"[core]\n\trepositoryformatversion = 1\n\tbare = false\n"]
        lines += [b"\t%s = %s\n" % setting for setting in _PLAIN.findall(data)]
        lines += [b"[extensions]\n"]
        lines += [b"\t%s = %s\n" % setting for setting in _FORMAT.findall(data)]
        return b"".join(lines)


def _append_line(path: Path, line: bytes) -> None:
    """Append a line to a file, which may be missing.

    Follows no link, which could lead out of the repository.
    """
    with contextlib.suppress(FileExistsError):
        path.parent.mkdir()
    info = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fd = os.open(path.name, _APPEND, 0o644, dir_fd=info)
    finally:
        os.close(info)
    with open(fd, "ab") as stream:
        state = os.fstat(fd)
        if not stat.S_ISREG(state.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        if state.st_size and os.pread(fd, 1, state.st_size - 1) != b"\n":
            line = b"\n" + line
        stream.write(line)


def _content(path: Path) -> bytes:
    """Return a regular file's content; nothing if there is none."""
    with contextlib.suppress(OSError, StoreError):
        return read_regular(path)
    return b""


def _git_dir(path: Path) -> Path | None:
    """Return the git directory that a `.git` folder or file stands for, or None."""
    git_dir = path
    if not path.is_dir():
        text = _content(path)
        if not text.startswith(_GIT_FILE):
            return None
        git_dir = path.parent / os.fsdecode(text.removeprefix(_GIT_FILE).rstrip(b"\r\n"))
    return git_dir.resolve() if (git_dir / "HEAD").is_file() else None


def _call(
    command: Sequence[str], environment: Mapping[str, str], folder: Path
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
