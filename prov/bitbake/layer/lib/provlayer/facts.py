"""Collect the facts about a task that its process sends to the writer.

Under pseudo, files have the owners, modes and device types that the task gave them.
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
"""Variables with the directories that belong to a task by convention."""
FAKED = ("D", "PKGD", "PKGDEST", "PKGDESTWORK", "IMAGE_ROOTFS")
"""Variables with directories that pseudo tracks, even if no fakeroot task declares them."""
FLAGS = ("cleandirs", "sstate-inputdirs", "sstate-plaindirs")
"""Task flags with directories that belong to the task."""


def socket_path(d):
    """Return the path of the socket of this build directory's writer."""
    return os.path.join(d.getVar("TOPDIR"), ".prov.sock")


def cache_mode(d):
    """Return the mode set by PROV_CACHE: "" (off), "store", or "both" (store and archives)."""
    value = (d.getVar("PROV_CACHE") or "").strip().lower()
    if value == "both":
        return "both"
    return "store" if value in ("1", "y", "yes", "true") else ""


def heed_children():
    """Restore the default action of SIGCHLD, and return the previous one.

    Processes inherit an ignored SIGCHLD. They then get no exit status from children, and every
    child seems to succeed.
    """
    return signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def under_pseudo():
    """Return whether this process runs under pseudo, and sees its owners and modes."""
    return os.environ.get("PSEUDO_DISABLED") == "0"


def names(d, task):
    """Return the description of a task for requests: `messages.TaskNames` without `body`."""
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
    """Return whether pseudo tracks a path, according to the variables that pseudo itself reads."""
    return _matches("PSEUDO_INCLUDE_PATHS", path, default=True) and not _matches(
        "PSEUDO_IGNORE_PATHS", path
    )


def _matches(variable, path, default=False):
    """Return whether a path begins with a path in a variable; `default` if the variable is unset.

    Each release of pseudo uses one of the two variables.
    """
    prefixes = _paths(variable)
    return path.startswith(prefixes) if prefixes else default


def _paths(variable):
    return tuple(path for path in os.environ.get(variable, "").split(",") if path)


def faked_tops(d):
    """Return the directories in which a recipe's fakeroot tasks work, relative to WORKDIR.

    Other directories must not be read under pseudo. It aborts a process that reaches a tracked file
    by another path, for example by a hardlink that a task outside pseudo made.
    """
    fake, plain = set(), set()
    for task in d.getVar("__BBTASKS", False) or ():
        tops = fake if d.getVarFlag(task, "fakeroot", False) else plain
        for flag in (*FLAGS, "dirs"):
            tops.update((d.getVarFlag(task, flag) or "").split())
    tops = (fake - plain) | {d.getVar(name) for name in FAKED}
    # compare names only: resolving symlinks would access files under pseudo
    below = {os.path.relpath(path, d.getVar("WORKDIR")) for path in tops if path}
    return _outermost({path for path in below if path != "." and not path.startswith("..")})


def _inside(paths, workdir):
    """Return the paths below WORKDIR, relative to it."""
    below = {os.path.relpath(os.path.realpath(path), workdir) for path in paths if path}
    return {path for path in below if path != "." and not path.startswith("..")}


def _outermost(paths):
    """Return the paths that are not below another path, sorted."""
    return sorted(
        path for path in paths if not any(path.startswith(f"{other}/") for other in paths)
    )


def faked(root, tops):
    """Return `tops`, and an `_entry` for each path below them that pseudo tracks.

    All paths are relative to `root`. Paths that other tasks delete during the walk are left out.
    """
    found, builder = [], _builder()
    pending = [(top, os.path.normpath(os.path.join(root, top)), False) for top in tops]
    while pending:
        path, where, inside = pending.pop()
        if not tracked(where) and not tracked(where + "/"):
            continue
        try:
            state = os.lstat(where)
            # A file with the builder's owner was made outside pseudo, unless pseudo tracks its
            # folder: then a task set this owner.
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
    """Return the real user and group of this process, which pseudo hides."""
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
