"""Report to the writer that a task begins, and what it produced when it has ended.

This module runs in the task's process, and under pseudo if the task does. Files then have the
owners, modes and device types that the task gave them. Files are written only to T, which pseudo
does not track.
"""

import contextlib
import hashlib
import json
import os
import time

import bb
import bb.compress.zstd

from provlayer import facts, installed, wire

SOURCES = ("do_unpack", "do_patch", "do_configure", "do_compile", "do_install")
"""Tasks that read or write sources, which can be outside WORKDIR."""

_began = {}


def handle(event, d):
    """Handle an event of a task. Errors become notes, and never fail the build."""
    task = d.getVar("BB_RUNTASK") or event.task
    started = event.__class__.__name__ == "TaskStarted"
    ignored = task.replace("_setscene", "") in (d.getVar("PROV_IGNORED_TASKS") or "").split()
    try:
        if started:
            _started(d, task, ignored=ignored)
        elif not ignored:
            _ended(event, d, task)
    except Exception as error:
        bb.note(f"prov: {event.__class__.__name__}: {error}")
    if not started or ignored:
        return
    if bb.utils.to_boolean(d.getVar("PROV_SYSROOTS")):
        from provlayer import sysroot

        sysroot.begin(d, task)
    installed.begin(d, task)


def _started(d, task, *, ignored):
    _began["time"] = time.time()
    if not ignored:
        wire.ask(facts.socket_path(d), dict(facts.names(d, task), what="begin"))
    if facts.cache_mode(d):
        from provlayer import cache

        cache.begin(d)
        if task.endswith("_setscene"):
            cache.stand_in(d)


def _outside(d, task, workdir):
    """Return the directories outside WORKDIR that contain a recipe's sources or build files."""
    if task not in SOURCES:
        return []
    found = {os.path.realpath(d.getVar(name)) for name in ("S", "B") if d.getVar(name)}
    outside = sorted(
        path for path in found if not (path + "/").startswith(workdir + "/") and os.path.isdir(path)
    )
    tops = [path + "/" for path in outside]
    return [path for path in outside if not any(path.startswith(top) for top in tops)]


def _ended(event, d, task):
    request = facts.names(d, task)
    cached = bool(facts.cache_mode(d))
    if cached:
        from provlayer import cache

        cache.clear_away(d)
        request["packed"] = cache.packed()
    try:
        answer = _report(event, d, request)
    except Exception as error:
        answer = _report_loss(d, request, error)
    if cached and "error" in answer and cache.packed() and "Failed" not in event.__class__.__name__:
        bb.note(
            f"prov: writing the shared state of {request['pn']}:{request['task']} as an archive"
        )
        cache.keep(d)


def _report(event, d, request):
    """Report an ended task to the writer, and return the answer."""
    real, workdir = request["task"], request["workdir"]
    body = b""
    if facts.under_pseudo():
        body = json.dumps(facts.faked(workdir, facts.faked_tops(d))).encode()
    signature = os.path.join(d.getVar("T"), f"prov.{real}.{os.getpid()}")
    try:
        _dump_signature(d, real, signature)
        request.update(
            what="end",
            failed="Failed" in event.__class__.__name__,
            signature=signature,
            taskhash=d.getVar("BB_TASKHASH") or "",
            unihash=d.getVar("BB_UNIHASH") or "",
            began=_began.get("time", event.time),
            ended=time.time(),
            log=event.logfile or "",
            method=getattr(bb.parse.siggen, "method", "")
            if hasattr(bb.parse.siggen, "client")
            else "",
            outhash=_outhash(d, real),
            stamp=bb.parse.siggen.stampfile_mcfn(d.getVar("BB_RUNTASK"), d.getVar("BB_FILENAME"))
            or "",
            outputs=[
                path
                for flag in ("sstate-inputdirs", "sstate-plaindirs")
                for path in (d.getVarFlag(real, flag) or "").split()
            ],
            outside=_outside(d, real, workdir),
            sysroot=_sysroot(d, real),
            faked=bool(body),
        )
        return wire.ask(facts.socket_path(d), request, body) or {}
    finally:
        if os.path.exists(signature):
            os.unlink(signature)


def _report_loss(d, request, error):
    """Report to the writer why a task cannot be recorded, and return an error answer."""
    why = f"{error.__class__.__name__}: {error}"
    with contextlib.suppress(OSError):  # the writer detects a missing report at the build's end
        wire.ask(facts.socket_path(d), dict(request, what="lost", why=why))
    return {"error": why}


def _outhash(d, task):
    """Return a task's output hash for hash equivalence: the digest of the file `depsig` in T."""
    path = os.path.join(d.getVar("T"), f"depsig.{task}.{os.getpid()}")
    if not os.path.exists(path):
        return ""
    with open(path, "rb") as stream:
        return hashlib.sha256(stream.read()).hexdigest()


def _dump_signature(d, task, path):
    """Write a task's signature data with BitBake's own function, uncompressed.

    The writer reads the file immediately.
    """
    fn = d.getVar("BB_FILENAME")
    stamp = bb.parse.siggen.stampfile_base(fn)
    compressed = bb.compress.zstd.open
    bb.compress.zstd.open = lambda file, mode, **_: os.fdopen(file, "w", encoding="utf-8")
    try:
        bb.parse.siggen.dump_sigtask(fn, task, path, "customfile:" + stamp)
    finally:
        bb.compress.zstd.open = compressed


def _sysroot(d, task):
    """Return the content of the recipe's sysroots: one line per recipe, with its task hash."""
    folder = os.path.join(d.getVar("RECIPE_SYSROOT_NATIVE") or "", "installeddeps")
    lines = []
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        path = os.path.join(folder, name)
        if os.path.islink(path) and not name.endswith(".complete"):
            with contextlib.suppress(OSError):  # another task of the recipe replaces it
                lines.append("{} {}".format(name, os.readlink(path).rpartition(".")[2]))
    return lines
