"""Files that the layer writes in folders to which others write as well: tasks, and users who share
SSTATE_DIR.

Their names can be guessed, so that a link may be there before: it is replaced, never followed.
"""

import contextlib
import os


def create(path):
    """Return a new text file, open for writing, in the place of the file or link that has its name.

    Raises FileExistsError if another process makes one at the same time.
    """
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o666), "w")


def write(path, lines):
    """Write a file as a whole: a reader sees the old lines or the new ones."""
    beside = f"{path}.{os.getpid()}"
    with create(beside) as stream:
        stream.writelines(lines)
    os.rename(beside, path)
