"""Keep shared state in the store, by replacing the functions with which sstate.bbclass packs and
unpacks archives.

PROV_CACHE = "1" enables it. The folder that sstate.bbclass would pack is captured as a tree,
including path tokens, and checked out again where it would be unpacked. If that fails, the original
functions run, as without prov. They also unpack existing archives, whose content is then captured.

With PROV_CACHE = "both", archives are written as well. If a task cannot be recorded, no ref holds
its object, so an archive is written when the task ends.
"""

import json
import os
import stat

import bb

from provlayer import facts, files, wire

POINTER = "kept in a prov store\n"
"""Content of a placeholder for an archive, whose existence sstate.bbclass checks.

Placeholders are never written to SSTATE_DIR: if the task were killed, others would find them there.
"""
NAMED = "PROV_SSTATE_PKG"
"""Variable that holds the value of SSTATE_PKG while SSTATE_PKG is the path of a placeholder."""
OWN = "prov_plain_"
"""Prefix of the names under which the functions of sstate.bbclass are saved."""
ARCHIVE = "sstate_archive_package"
CLEAN = "sstate_clean_cachefile"
CREATE = "sstate_create_and_sign_package"
REPLACED = {
    ARCHIVE: "    import provlayer.cache\n    provlayer.cache.archive(d)\n",
    "sstate_unpack_package": "    import provlayer.cache\n    provlayer.cache.unpack(d)\n",
}
"""Names and new texts of the replaced functions."""

_packed = []
"""Ids of the object that this process packed and that no archive contains."""
_plain = []
"""Not empty while this process writes archives instead of objects."""


def configure(d):
    """Replace functions of sstate.bbclass in the configuration that all recipes start from."""
    if not facts.cache_mode(d):
        if (d.getVar("PROV_CACHE") or "0").strip().lower() not in ("0", "n", "no", "false", ""):
            bb.warn(
                'prov: invalid PROV_CACHE {!r}: expected "0", "1" or "both"'.format(
                    d.getVar("PROV_CACHE")
                )
            )
        return
    for name, text in REPLACED.items():
        if d.getVar(OWN + name, False) is not None:
            continue
        d.setVar(OWN + name, d.getVar(name, False))
        if name == ARCHIVE and _is_def(d):
            continue
        d.setVarFlag(OWN + name, "func", "1")
        d.setVar(name, text)
        d.setVarFlag(name, "python", "1")
        d.setVarFlag(name, "func", "1")
    d.setVar("PROV_PLAIN_HASHCHECK", d.getVar("BB_HASHCHECK_FUNCTION"))
    d.setVar("BB_HASHCHECK_FUNCTION", "provlayer.cache.check")


def _is_def(d):
    """Return whether sstate_archive_package is a `def`, as in newer releases.

    Python code then calls it directly, and not through BitBake.
    """
    return d.getVar(ARCHIVE, False).lstrip().startswith("def ")


def begin(d):
    """Replace functions that Python code calls directly, in this process, before a task runs."""
    functions = bb.utils.get_context()
    if CLEAN in functions:
        clean_archives = functions[CLEAN]
        functions[CLEAN] = lambda ss, d: clean(ss, d, clean_archives)
    kept = d.getVar(OWN + ARCHIVE, False)
    # do not replace a function that a class of the recipe has overridden
    if kept is None or not _is_def(d) or d.getVar(ARCHIVE, False) != kept:
        return
    plain = functions[ARCHIVE]
    functions[ARCHIVE] = lambda path, d: archive(d, path, lambda: plain(path, d))


# in the server: which objects are available?


def check(sq_data, d, siginfo=False, currentcount=0, summary=True, **kwargs):
    """Return the tasks whose shared state is available, as BB_HASHCHECK_FUNCTION does.

    Objects in the store are listed first; the original function checks the remaining tasks.
    """
    from provlayer import server

    found = set()
    if not siginfo:
        try:
            names = {tid: _object_name(tid, sq_data, d) for tid in sq_data["hash"]}
            found = server.ask_which(d, names)
        except Exception as error:
            bb.warn(f"prov: cannot query the store for shared state: {error}")
    rest = dict(
        sq_data, hash={tid: value for tid, value in sq_data["hash"].items() if tid not in found}
    )
    if found and summary:
        bb.plain(
            f"prov: {len(found)} of {len(sq_data['hash'])} wanted objects of shared state are in"
            " the store"
        )
    plain = d.getVar("PROV_PLAIN_HASHCHECK")
    if not plain or not rest["hash"]:
        return found
    call = (
        f"{plain}(sq_data, d, siginfo=siginfo, currentcount=currentcount, summary=summary,"
        " **kwargs)"
    )
    names = {
        "sq_data": rest,
        "d": d,
        "siginfo": siginfo,
        "currentcount": currentcount,
        "summary": summary,
    }
    return found | bb.utils.better_eval(call, dict(names, kwargs=kwargs))


def _object_name(tid, sq_data, d):
    """Return the name of a task's object: recipe, task, unihash, and the archive name before it.

    The name contains no multiconfig, like the names of archives.
    """
    native, spec, sources = [*sq_data["hashfn"][tid].split(" "), "", ""][:3]
    name = bb.runqueue.taskname_from_tid(tid)[3:]
    folder = d.getVar("NATIVELSBSTRING") + "/" if native == "True" else ""
    if name in ("fetch", "unpack", "patch", "populate_lic", "preconfigure") and sources:
        spec, folder = sources, ""
    return [bb.parse.siggen.tidtopn[tid], "do_" + name, f"{folder}{spec}", sq_data["unihash"][tid]]


# in a task's process


def _name_here(d, task=None):
    """Return the name of the object that a task packs or unpacks, in the form of `_object_name`."""
    task = task or d.getVar("SSTATE_CURRTASK")
    spec = (d.getVar("SSTATE_EXTRAPATH") or "") + d.getVar("SSTATE_PKGSPEC")
    return [d.getVar("PN"), "do_" + task, spec, d.getVar("BB_UNIHASH") or ""]


def _ask(d, what, folder, **more):
    request = facts.names(d, d.getVar("BB_RUNTASK"))
    request.update(
        what=what,
        object=_name_here(d),
        folder=os.path.realpath(folder),
        faked=facts.under_pseudo(),
        **more,
    )
    body = b""
    if what == "archive" and facts.under_pseudo():
        body = json.dumps(facts.faked(request["folder"], ["."])).encode()
    answer = wire.ask(facts.socket_path(d), request, body)
    return {"error": "the writer is not running"} if answer is None else answer


def archive(d, path=None, plain=None):
    """Capture SSTATE_BUILDDIR instead of packing it. If that fails, write an archive.

    `path` is the archive's path, and `plain` the function that writes it.
    """
    if plain is None:

        def plain():
            bb.build.exec_func(OWN + ARCHIVE, d)

    if _plain:
        plain()
        return
    try:
        answer = _ask(d, "archive", d.getVar("SSTATE_BUILDDIR"))
    except Exception as error:
        answer = {"error": str(error)}
    if "error" in answer:
        bb.note(
            f"prov: writing an sstate archive instead of an object in the store: {answer['error']}"
        )
        plain()
        return
    if facts.cache_mode(d) == "both":
        plain()
        return
    _packed[:] = answer.get("packed", [])
    path = path or d.getVar("TMP_SSTATE_PKG")
    if bb.utils.to_boolean(d.getVar("SSTATE_VERIFY_SIG")):
        with files.create(path) as stream:  # sstate.bbclass signs this file
            stream.write(POINTER)
    elif os.path.exists(path):
        os.unlink(path)  # sstate.bbclass would move it to the archive's name


def packed():
    """Return the ids of the object that this process packed and that no archive contains."""
    return list(_packed)


def keep(d):
    """Write the object that this task packed as an archive, since no record holds the object.

    Raises OSError if the writer cannot unpack the object.
    """
    folder = d.getVar("SSTATE_BUILDDIR")
    bb.utils.mkdirhier(folder)
    try:
        answer = _ask(d, "unpack", folder, packed=packed())
        if "error" in answer:
            raise OSError(answer["error"])
        _apply(folder, answer.get("entries", []))
        _plain.append(True)
        bb.build.exec_func(CREATE, d, (folder,))
        _packed.clear()
    finally:
        _plain.clear()
        bb.utils.remove(folder, recurse=True)


def clean(ss, d, plain):
    """Delete a task's archives with `plain`, and make its objects in the store unfindable.

    `-c cleansstate` and `-c cleanall` call this.
    """
    plain(ss, d)
    if not d.getVarFlag("do_" + ss["task"], "task"):
        return
    try:
        request = facts.names(d, d.getVar("BB_RUNTASK"))
        answer = (
            wire.ask(
                facts.socket_path(d), dict(request, what="clean", object=_name_here(d, ss["task"]))
            )
            or {}
        )
    except Exception as error:
        answer = {"error": str(error)}
    if "error" in answer:
        bb.warn(
            "prov: cannot clean the shared state of {} in the store: {}".format(
                d.getVar("PN"), answer["error"]
            )
        )


def is_pointer(path):
    """Return whether the file at an archive's name is a placeholder for an object in the store."""
    try:
        with open(path, "rb") as stream:
            return stream.read(len(POINTER) + 1) == POINTER.encode()
    except OSError:
        return False


def stand_in(d):
    """Write a placeholder for the archive before a setscene task, if its object is available."""
    name = (d.getVar("BB_RUNTASK") or "").replace("_setscene", "")
    here = d.createCopy()
    if name == "do_populate_lic":
        here.setVar("SSTATE_PKGSPEC", "${SSTATE_SWSPEC}")
        here.setVar("SSTATE_EXTRAPATH", "")
    here.setVar("SSTATE_CURRTASK", name[3:])
    path = here.getVar("SSTATE_PKG")
    if not path or (os.path.exists(path) and facts.cache_mode(d) != "both"):
        return
    request = dict(facts.names(d, d.getVar("BB_RUNTASK")), what="has", object=_name_here(here))
    if (wire.ask(facts.socket_path(d), request) or {}).get("has"):
        pointer = os.path.join(d.getVar("T"), f"prov.{os.path.basename(path)}.{os.getpid()}")
        with files.create(pointer) as stream:
            stream.write(POINTER)
        d.setVar(NAMED, d.getVar("SSTATE_PKG", False))
        d.setVar("SSTATE_PKG", pointer)


def clear_away(d):
    """Delete the placeholder for an archive, and restore SSTATE_PKG."""
    path = d.getVar("SSTATE_PKG")
    if path and is_pointer(path):
        os.unlink(path)
    if d.getVar(NAMED, False) is not None:
        d.setVar("SSTATE_PKG", d.getVar(NAMED, False))
        d.delVar(NAMED)


def unpack(d):
    """Check out an object into SSTATE_INSTDIR instead of unpacking an archive.

    If SSTATE_PKG is an archive and not a placeholder, it is unpacked and its content captured.
    """
    path, folder = d.getVar("SSTATE_PKG"), d.getVar("SSTATE_INSTDIR")
    if is_pointer(path):
        clear_away(d)
        answer = _ask(d, "unpack", folder)
        if "error" in answer:
            bb.warn(f"prov: cannot restore the task, running it instead: {answer['error']}")
            raise bb.BBHandledException  # bb.error and bb.fatal would fail the build
        _apply(folder, answer.get("entries", []))
        return
    bb.build.exec_func(OWN + "sstate_unpack_package", d)
    try:
        _ask(d, "archive", folder)
    except Exception as error:
        bb.note(f"prov: {error}")


def _apply(folder, entries):
    """Set owners and modes of checked out files, and create devices and hardlinks, under pseudo.

    Paths that pseudo does not track keep their owner, which only root could change.
    """
    known = facts.tracked(os.path.realpath(folder) + "/")
    links = [(path, link) for path, *_, link in entries if link not in ("", path)]
    later = {path for path, _ in links}
    for path, mode, uid, gid, rdev, mtime, xattrs, _link in entries:
        if path in later:
            continue
        where = os.path.join(folder, path) if path != "." else folder
        if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
            if not known:
                continue
            os.mknod(where, mode, os.makedev(*rdev))
        if known:
            os.chown(where, uid, gid, follow_symlinks=False)
        if not stat.S_ISLNK(mode):
            os.chmod(where, stat.S_IMODE(mode))
            for name, value in xattrs:
                os.setxattr(where, name, bytes.fromhex(value))
        if mtime is not None:
            os.utime(where, ns=(mtime, mtime), follow_symlinks=False)
    for path, link in links:  # pseudo tracks inodes, so it must see each hardlink being created
        os.link(os.path.join(folder, link), os.path.join(folder, path), follow_symlinks=False)
