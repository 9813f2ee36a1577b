"""Shared state kept in the store: sstate.bbclass's own functions, with another place for what they
pack.

Switched on by PROV_CACHE = "1". What sstate.bbclass would put into an archive is captured as a
tree, tokens and all, and what it would unpack is checked out from there. Where that can't be done
its own functions run, as if prov were not there; so they do for archives that are there already,
which are taken into the store on the way.

With PROV_CACHE = "both" the archive is written as well. An object whose task could not be recorded,
so that no ref holds it, is written as an archive when the task ends.
"""

import json
import os
import stat

import bb

from provlayer import facts, files, wire

POINTER = "kept in a prov store\n"
"""What stands for an archive: sstate.bbclass looks whether there is one. Never in SSTATE_DIR, where
a kill would leave it for others to find.
"""
NAMED = "PROV_SSTATE_PKG"
"""Where the archive's name is kept while SSTATE_PKG is that of what stands for it."""
OWN = "prov_plain_"
"""In front of the names under which sstate.bbclass's own functions are kept."""
ARCHIVE = "sstate_archive_package"
CLEAN = "sstate_clean_cachefile"
CREATE = "sstate_create_and_sign_package"
REPLACED = {
    ARCHIVE: "    import provlayer.cache\n    provlayer.cache.archive(d)\n",
    "sstate_unpack_package": "    import provlayer.cache\n    provlayer.cache.unpack(d)\n",
}
"""What BitBake's own functions become."""

_packed = []
"""The ids of the object that this process packed, until it is recorded."""
_plain = []
"""Holds something while archives are written in this process."""


def configure(d):
    """Put our functions in the place of sstate.bbclass's, in the configuration that all recipes
    start from.
    """
    if not facts.cache_mode(d):
        if (d.getVar("PROV_CACHE") or "0").strip().lower() not in ("0", "n", "no", "false", ""):
            bb.warn(
                'prov: PROV_CACHE is {!r}; it can be "0", "1" or "both"'.format(
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
    """Tell whether sstate_archive_package is a `def`, as in newer releases: then it is called
    without BitBake.
    """
    return d.getVar(ARCHIVE, False).lstrip().startswith("def ")


def begin(d):
    """Before a task: replace functions that Python code calls without BitBake, in this process
    alone.
    """
    functions = bb.utils.get_context()
    if CLEAN in functions:
        clean_archives = functions[CLEAN]
        functions[CLEAN] = lambda ss, d: clean(ss, d, clean_archives)
    kept = d.getVar(OWN + ARCHIVE, False)
    if (
        kept is None or not _is_def(d) or d.getVar(ARCHIVE, False) != kept
    ):  # a class of the recipe's has another
        return
    plain = functions[ARCHIVE]
    functions[ARCHIVE] = lambda path, d: archive(d, path, lambda: plain(path, d))


# in the server: what is there?


def check(sq_data, d, siginfo=False, currentcount=0, summary=True, **kwargs):
    """Tell which tasks need not run, as BB_HASHCHECK_FUNCTION does: what the store has, and what is
    elsewhere.
    """
    from provlayer import server

    found = set()
    if not siginfo:
        try:
            names = {tid: _object_name(tid, sq_data, d) for tid in sq_data["hash"]}
            found = server.ask_which(d, names)
        except Exception as error:
            bb.warn(f"prov: the store is not asked for shared state: {error}")
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
    """Return the name of a task's object: recipe, task, and of the archive's name what is before
    and in the unihash.

    It has no multiconfig, as sstate.bbclass's archives have none.
    """
    native, spec, sources = [*sq_data["hashfn"][tid].split(" "), "", ""][:3]
    name = bb.runqueue.taskname_from_tid(tid)[3:]
    folder = d.getVar("NATIVELSBSTRING") + "/" if native == "True" else ""
    if name in ("fetch", "unpack", "patch", "populate_lic", "preconfigure") and sources:
        spec, folder = sources, ""
    return [bb.parse.siggen.tidtopn[tid], "do_" + name, f"{folder}{spec}", sq_data["unihash"][tid]]


# in a task's process


def _name_here(d, task=None):
    """Return the name of the object that a task packs or unpacks, as `_object_name` has it."""
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
    return {"error": "there is no writer"} if answer is None else answer


def archive(d, path=None, plain=None):
    """Instead of packing what is in SSTATE_BUILDDIR: capture it. Its own packing is what is left if
    that fails.

    `path` is where the archive would be made, `plain` makes it.
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
        bb.note(f"prov: packed as an archive: {answer['error']}")
        plain()
        return
    if facts.cache_mode(d) == "both":
        plain()
        return
    _packed[:] = answer.get("packed", [])
    path = path or d.getVar("TMP_SSTATE_PKG")
    if bb.utils.to_boolean(d.getVar("SSTATE_VERIFY_SIG")):
        with files.create(path) as stream:  # to be signed
            stream.write(POINTER)
    elif os.path.exists(path):
        os.unlink(path)  # then nothing comes to the archive's name


def packed():
    """Return the ids of the object that this process packed, and that no archive holds."""
    return list(_packed)


def keep(d):
    """Write the object that this task packed as an archive, since no record holds it in the store.

    Raises OSError if the writer cannot put the object back.
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
    """Delete a task's archives by `plain`, as `-c cleansstate` does, and make its objects in the
    store unfindable.
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
            "prov: shared state of {} stays in the store: {}".format(
                d.getVar("PN"), answer["error"]
            )
        )


def is_pointer(path):
    """Tell whether what is at the name of an archive only stands for an object in the store."""
    try:
        with open(path, "rb") as stream:
            return stream.read(len(POINTER) + 1) == POINTER.encode()
    except OSError:
        return False


def stand_in(d):
    """Before a task that takes shared state: let something stand for the archive if the store has
    the object.
    """
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
    """After a task: what stood for an archive goes."""
    path = d.getVar("SSTATE_PKG")
    if path and is_pointer(path):
        os.unlink(path)
    if d.getVar(NAMED, False) is not None:
        d.setVar("SSTATE_PKG", d.getVar(NAMED, False))
        d.delVar(NAMED)


def unpack(d):
    """Instead of unpacking an archive into SSTATE_INSTDIR: check it out.

    A real archive is unpacked, and captured.
    """
    path, folder = d.getVar("SSTATE_PKG"), d.getVar("SSTATE_INSTDIR")
    if is_pointer(path):
        clear_away(d)
        answer = _ask(d, "unpack", folder)
        if "error" in answer:
            bb.warn(f"prov: the task runs, since its object can't be taken: {answer['error']}")
            raise bb.BBHandledException  # a message of an error would fail the build
        _apply(folder, answer.get("entries", []))
        return
    bb.build.exec_func(OWN + "sstate_unpack_package", d)
    try:
        _ask(d, "archive", folder)
    except Exception as error:
        bb.note(f"prov: {error}")


def _apply(folder, entries):
    """Under pseudo: give what was checked out the owners, modes and kinds that it had, for pseudo
    to know.

    Paths that pseudo does not track keep the builder as their owner: only root could change it.
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
    for (
        path,
        link,
    ) in links:  # pseudo knows files by inodes: it must see that there is a second name
        os.link(os.path.join(folder, link), os.path.join(folder, path), follow_symlinks=False)
