"""What a task's process knows of itself, and says in what it asks the writer.

Under pseudo what is looked at here has the owners, modes and devices that the task gave them.
"""

import os
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
FLAGS = ("cleandirs", "sstate-inputdirs", "sstate-plaindirs")
"""Flags of a task with directories that belong to it."""


def socket_path(d):
    """Return where the writer of this build directory is reached."""
    return os.path.join(d.getVar("TOPDIR"), ".prov.sock")


def under_pseudo():
    """Tell whether this process sees owners and modes as pseudo has them."""
    return os.environ.get("PSEUDO_DISABLED") == "0"


def names(d, task):
    """Return what a task says of itself in every request."""
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
    below = {os.path.relpath(os.path.realpath(path), workdir) for path in found if path}
    return {path for path in below if path != "." and not path.startswith("..")}


def faked(tops, root):
    """Return what pseudo says of directories: their paths from a root, and of all in them what `_entry` tells."""
    found = {}
    for top in tops:
        if os.path.isdir(top):
            _walk(os.path.relpath(top, root), os.lstat(top), top, found)
    return [[os.path.relpath(top, root) for top in tops], list(found.values())]


def _walk(path, state, where, found):
    pending = [(path, state, where)]
    while pending:
        path, state, where = pending.pop()
        found[path] = _entry(path, state, where)
        if not stat.S_ISDIR(state.st_mode):
            continue
        with os.scandir(where) as listing:
            prefix = "" if path == "." else path + "/"
            pending += [(prefix + entry.name, os.lstat(entry.path), entry.path) for entry in listing]


def _entry(path, state, where):
    names = os.listxattr(where, follow_symlinks=False) if stat.S_ISREG(state.st_mode) else ()
    wanted = [name for name in sorted(names) if name.startswith("user.") or name == "security.capability"]
    xattrs = [[name, os.getxattr(where, name, follow_symlinks=False).hex()] for name in wanted]
    return [path, state.st_ino, state.st_mode, state.st_uid, state.st_gid, state.st_rdev, xattrs]
