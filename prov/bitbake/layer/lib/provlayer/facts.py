"""What a task's process knows of itself, and says in what it asks the writer.

Under pseudo what is looked at here has the owners, modes and devices that the task gave them.
"""

import os
import signal
import stat

OWNED = {
    "do_unpack": ("S", "UNPACKDIR"),
    "do_patch": ("S",),
    "do_configure": ("B",),
    "do_compile": ("B",),
    "do_install": ("D",),
    "do_populate_sysroot": ("SYSROOT_DESTDIR",),
    "do_package": ("PKGD", "PKGDEST", "PKGDESTWORK"),
}
"""Variables with the directories that belong to a task by what everybody means by it."""
FAKED = ("D", "PKGD", "PKGDEST", "PKGDESTWORK", "IMAGE_ROOTFS")
"""Variables with directories whose owners and modes pseudo keeps, also for tasks that do not
declare them.
"""
FLAGS = ("cleandirs", "sstate-inputdirs", "sstate-plaindirs")
"""Flags of a task with directories that belong to it."""


def socket_path(d):
    """Return where the writer of this build directory is reached."""
    return os.path.join(d.getVar("TOPDIR"), ".prov.sock")


def cache_mode(d):
    """Return what PROV_CACHE asks for: "" (sstate.bbclass alone), "store", or "both": archives as
    well.
    """
    value = (d.getVar("PROV_CACHE") or "").strip().lower()
    if value == "both":
        return "both"
    return "store" if value in ("1", "y", "yes", "true") else ""


def heed_children():
    """Restore the default action of SIGCHLD, and return the previous one.

    A process that ignores the signal, which it may inherit, gets no exit status of its children:
    each seems to succeed.
    """
    return signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def under_pseudo():
    """Tell whether this process sees owners and modes as pseudo has them."""
    return os.environ.get("PSEUDO_DISABLED") == "0"


def names(d, task):
    """Return what a task says of itself in every request: `messages.TaskNames`, without `body`."""
    workdir = os.path.realpath(d.getVar("WORKDIR"))
    return {
        "mc": d.getVar("BB_CURRENT_MC") or "",
        "pn": d.getVar("PN"),
        "pv": d.getVar("PV"),
        "task": task.replace("_setscene", ""),
        "setscene": task.endswith("_setscene"),
        "workdir": workdir,
        "arch": d.getVar("MULTIMACH_TARGET_SYS") or "all",
        "owned": sorted(_owned(d, task, workdir)),
        "pid": os.getpid(),
    }


def _owned(d, task, workdir):
    """Return the directories in WORKDIR, relative to it, that belong to a task."""
    real = task.replace("_setscene", "")
    found = [d.getVar(name) for name in OWNED.get(real, ())]
    for flag in FLAGS:
        found += (d.getVarFlag(real, flag) or "").split()
    return _inside(found, workdir)


def tracked(path):
    """Return whether pseudo keeps owners and modes of a path, by the variables that pseudo itself
    reads.
    """
    return _matches("PSEUDO_INCLUDE_PATHS", path, default=True) and not _matches(
        "PSEUDO_IGNORE_PATHS", path
    )


def _matches(variable, path, default=False):
    """Return whether a path begins with one of those in a variable, which newer or older releases
    of pseudo have.
    """
    prefixes = _paths(variable)
    return path.startswith(prefixes) if prefixes else default


def _paths(variable):
    return tuple(path for path in os.environ.get(variable, "").split(",") if path)


def faked_tops(d):
    """Return the directories in WORKDIR, relative to it, in which a recipe's tasks under pseudo
    work.

    Others must not be looked at under pseudo: it aborts a process that comes to a file it tracks by
    another path, as by a hardlink that a task outside pseudo made.
    """
    fake, plain = set(), set()
    for task in d.getVar("__BBTASKS", False) or ():
        tops = fake if d.getVarFlag(task, "fakeroot", False) else plain
        for flag in (*FLAGS, "dirs"):
            tops.update((d.getVarFlag(task, flag) or "").split())
    tops = (fake - plain) | {d.getVar(name) for name in FAKED}
    # by the names alone: looking for symlinks is looking at files
    below = {os.path.relpath(path, d.getVar("WORKDIR")) for path in tops if path}
    return _outermost({path for path in below if path != "." and not path.startswith("..")})


def _inside(paths, workdir):
    """Return the paths that are below WORKDIR, relative to it."""
    below = {os.path.relpath(os.path.realpath(path), workdir) for path in paths if path}
    return {path for path in below if path != "." and not path.startswith("..")}


def _outermost(paths):
    """Return the paths that are in none of the others, sorted."""
    return sorted(
        path for path in paths if not any(path.startswith(f"{other}/") for other in paths)
    )


def faked(root, tops):
    """Return `tops`, and an `_entry` for each path in them that pseudo tracks; all paths are
    relative to `root`.

    Other tasks create and delete files meanwhile: what vanishes during the walk is left out.
    """
    found, builder = [], _builder()
    pending = [(top, os.path.normpath(os.path.join(root, top)), False) for top in tops]
    while pending:
        path, where, inside = pending.pop()
        if not tracked(where) and not tracked(where + "/"):
            continue
        try:
            state = os.lstat(where)
            # Files made outside pseudo have the builder's owner. Below a folder that pseudo tracks,
            # a task gave it.
            inside = inside or _owner(state) != builder
            if inside:
                found.append(_entry(path, state, where))
            if stat.S_ISDIR(state.st_mode):
                prefix = "" if path == "." else path + "/"
                pending += [
                    (prefix + name, f"{where}/{name}", inside) for name in os.listdir(where)
                ]
        except (FileNotFoundError, NotADirectoryError):
            continue
    return [list(tops), found]


def _owner(state):
    return state.st_uid, state.st_gid


def _builder():
    """Return the user and group that the kernel knows this process by, whatever pseudo says."""
    ids = {}
    with open("/proc/self/status") as stream:
        for line in stream:
            name, _, values = line.partition(":")
            if name in ("Uid", "Gid"):
                ids[name] = int(values.split()[1])
    return ids["Uid"], ids["Gid"]


def _entry(path, state, where):
    names = os.listxattr(where, follow_symlinks=False) if stat.S_ISREG(state.st_mode) else ()
    wanted = [
        name for name in sorted(names) if name.startswith("user.") or name == "security.capability"
    ]
    xattrs = [[name, os.getxattr(where, name, follow_symlinks=False).hex()] for name in wanted]
    return [path, state.st_ino, state.st_mode, state.st_uid, state.st_gid, state.st_rdev, xattrs]
