"""Write files in folders that other tasks, or other users of SSTATE_DIR, also write to.

The names can be guessed, so a symlink may already exist there. It is replaced, never followed.
"""

import contextlib
import os


def create(path):
    """Return a new text file, open for writing. Replaces a file or symlink of its name.

    Raises FileExistsError if another process creates the file at the same time.
    """
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o666), "w")


def write(path, lines):
    """Write a file atomically: readers see either the old lines or the new ones."""
    beside = f"{path}.{os.getpid()}"
    with create(beside) as stream:
        stream.writelines(lines)
    os.rename(beside, path)
