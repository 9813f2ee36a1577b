"""Start the writer with the first task of a build, and send it the result when the build has ended.

This module runs in BitBake's server. The writer exits with the server: it reads from a pipe that
closes when the server exits, for whatever reason.
"""

import json
import os
import select
import shutil
import subprocess
import time

import bb

from provlayer import facts, files, names

END = 300
"""Seconds without a message after which the server stops waiting for the writer."""
PASSED = (
    *("HOME", "USER", "SSH_AUTH_SOCK", "GNUPGHOME"),
    *("XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME"),
    *(
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "no_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
    ),
)
"""User variables passed to the writer, in addition to git's own.

git and ssh may need them to reach a remote. prov finds with them the key that authenticates the
user's caches.
"""
NOTES = 5
"""Maximum number of unrecorded tasks that get a note with the reason while the build runs."""
STARTS = 3
"""Maximum number of times the writer is started in one build."""


class Build:
    """A running build: its state, and its writer."""

    def __init__(self, targets):
        self.targets = targets
        self.began = time.time()
        self.open = 1
        self.failed = False
        self.interrupted = False
        self.skipped = {}
        self.executed = {}
        self.noexec = set()
        self.process = None
        self.starts = 0
        self.received = b""
        self.losses = {}
        self.plain = {}
        self.dead = ""

    # the writer

    def need_writer(self, d):
        """Start the writer if it is not running; warn once if that fails."""
        if self.dead or (self.process is not None and self.process.poll() is None):
            return
        if self.process is not None:
            self.starts += 1
            self.process = None
        try:
            if self.starts >= STARTS:
                raise OSError(f"the writer crashed {self.starts} times")
            self._start(d)
        except OSError as error:
            self.dead, self.process = str(error), None
            bb.warn(f"prov: this build is not recorded: {error}")

    def _start(self, d):
        origin = d.getVar("BB_ORIGENV", False)
        path = (origin.getVar("PATH") if origin else "") or os.environ.get("PATH", "")
        command = shutil.which(d.getVar("PROV_COMMAND"), path=path)
        if command is None:
            raise OSError("PROV_COMMAND: program {!r} not found".format(d.getVar("PROV_COMMAND")))
        environment = {"PATH": path, "LANG": "C.UTF-8"}
        of_git = [name for name in origin if name.startswith("GIT_")] if origin else []
        for name in (*PASSED, *of_git) if origin else ():
            if origin.getVar(name):
                environment[name] = origin.getVar(name)
        arguments = [command, "bitbake", "writer", d.getVar("PROV_STORE"), facts.socket_path(d)]
        self.process = subprocess.Popen(
            arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            start_new_session=True,
            # only the main thread can set signal handlers, and this may be another one
            preexec_fn=facts.heed_children,
        )
        try:
            answer = self._listen(END)
        except ValueError:  # the program is not prov
            answer = None
        if not isinstance(answer, dict) or "ready" not in answer:
            self.process.kill()
            self.process.wait()
            self.process, self.received = None, b""
            raise OSError(f"`{command} bitbake writer` did not start")

    def _listen(self, seconds):
        """Return the writer's next message, or None if it exits or sends none for `seconds`."""
        fd = self.process.stdout.fileno()
        while b"\n" not in self.received:
            if not select.select([fd], [], [], seconds)[0]:
                return None
            piece = os.read(fd, 1 << 16)
            if not piece:
                return None
            self.received += piece
        line, self.received = self.received.split(b"\n", 1)
        return json.loads(line)

    def hear(self):
        """Handle the messages that the writer has sent: notes, and tasks it could not record."""
        if self.process is None:
            return
        stdout = self.process.stdout.fileno()
        while b"\n" in self.received or select.select([stdout], [], [], 0)[0]:
            word = self._listen(0)
            if word is None:
                return
            self._note(word)

    def _note(self, word):
        if "note" in word:
            bb.warn("prov: " + word["note"])
        if "lost" in word:
            lose(self.losses, word["lost"], "is not recorded", word["why"])
        if "plain" in word:
            lose(self.plain, word["plain"], "gets its sysroots from staging.bbclass", word["why"])

    # its end

    def result(self):
        if self.interrupted:
            return "interrupted"
        return "failed" if self.failed else "ok"

    def finish(self, d):
        """Send the build's result to the writer, and wait until it exits."""
        if self.process is None:
            return
        self.need_writer(d)  # a new writer finds what a crashed one had recorded
        if self.process is None:
            return
        self.hear()
        outcome = {
            "what": "done",
            "targets": self.targets,
            "result": self.result(),
            "began": self.began,
            "skipped": list(self.skipped.values()),
            "executed": list(self.executed.values()),
            "network": network_allowed(d),
        }
        try:
            self.process.stdin.write(json.dumps(outcome).encode() + b"\n")
            self.process.stdin.close()
            word = self._listen(END)
            while word is not None and "recorded" not in word:
                self._note(word)
                word = self._listen(END)
            self.process.wait(END)
        except (OSError, subprocess.TimeoutExpired) as error:
            bb.warn(f"prov: this build is not recorded: {error}")
            self.process.kill()
            self.process.wait()
            return
        warn_all(self.losses, "is not recorded", "are not recorded")
        warn_all(
            self.plain,
            "got its sysroots from staging.bbclass",
            "got their sysroots from staging.bbclass",
        )
        if word is None:
            bb.warn("prov: this build is not recorded: the writer exited too early")
        elif word["recorded"]:
            bb.note("prov: recorded as build {}".format(word["recorded"][:12]))

    # shared state

    def which(self, d, names):
        """Return the tasks whose objects are available.

        `names` maps each tid to the name of its object, made by `cache`.
        """
        question = {"objects": names, "wait": seconds_to_wait(d)}
        return set(self._ask(d, "which", question) or ())

    def _ask(self, d, what, question):
        """Send a question to the writer and return its answer, or None if it gives none."""
        self.need_writer(d)
        if self.process is None or self.process.poll() is not None:
            return None
        self.hear()
        allowed = network_allowed(d)
        self.process.stdin.write(
            json.dumps(dict(question, what=what, network=allowed)).encode() + b"\n"
        )
        self.process.stdin.flush()
        seconds = END + question.get("wait", 0)
        word = self._listen(seconds)
        while word is not None and what not in word:
            self._note(word)
            word = self._listen(seconds)
        return word[what] if word else None

    def report_equivalences(self, d):
        """Report other builds' hash equivalences to this build directory's own server.

        A shared server is left unchanged. The file `prov-equivalence` lists the reported texts.
        """
        folder = d.getVar("PERSISTENT_DIR") or d.getVar("CACHE")
        if not hasattr(bb.parse.siggen, "client") or not (
            d.getVar("BB_HASHSERVE") or ""
        ).startswith("unix://"):
            return
        path, known = os.path.join(folder, "prov-equivalence"), set()
        if os.path.exists(path) and os.path.exists(os.path.join(folder, "hashserv.db")):
            with open(path) as stream:
                known = set(stream.read().split())
        new = self._ask(d, "equivalences", {"known": sorted(known)}) or {}
        with bb.parse.siggen.client() as client:
            for lines in new.values():
                for line in lines:
                    method, taskhash, outhash, unihash = line.split(" ")
                    client.report_unihash(taskhash, method, outhash, unihash, {})
        if new:
            bb.utils.mkdirhier(folder)
            files.write(path, [f"{name}\n" for name in sorted(known | set(new))])


def seconds_to_wait(d):
    """Return the value of PROV_WAIT."""
    value = d.getVar("PROV_WAIT") or "0"
    if not value.isdecimal():
        bb.warn(f"prov: invalid PROV_WAIT {value!r}: expected a number of seconds")
        return 0
    return int(value)


def lose(losses, task, what, why):
    """Store why an operation failed for a task; print a note about the first NOTES tasks."""
    losses.setdefault(task, why)
    if len(losses) <= NOTES:
        bb.note(f"prov: {task} {what}: {why}")


def warn_all(losses, one, many):
    """Print one warning about all tasks in `losses` (task -> reason) when a build ends.

    `one` and `many` are the singular and the plural of the text after the tasks' number.
    """
    names = sorted(losses)
    if names:
        what = f"1 task {one}" if len(names) == 1 else f"{len(names)} tasks {many}"
        listed = " ".join(names[:20]) + (" …" if len(names) > 20 else "")
        first, why = next(iter(losses.items()))
        bb.warn(f"prov: {what}: {listed} ({first}: {why})")


def network_allowed(d):
    """Return whether shared state may be exchanged with other machines.

    The variables are the same as for sstate mirrors.
    """
    forbidden = bb.utils.to_boolean(d.getVar("BB_NO_NETWORK"))
    return not forbidden or bool(bb.utils.to_boolean(d.getVar("SSTATE_MIRROR_ALLOW_NETWORK")))


def ask_which(d, names):
    """Return the tasks whose objects of shared state are available."""
    return _builds[0].which(d, names) if _builds else set()


_builds = []


def handle(event, d):
    """Handle an event of the server. Errors become warnings, and never fail the build."""
    try:
        _handle(event, event.__class__.__name__, d)
    except Exception as error:
        bb.warn(f"prov: {event.__class__.__name__}: {error}")


def _handle(event, name, d):
    if name == "BuildStarted":
        if _builds:  # each multiconfig fires this event
            _builds[0].open += 1
            return
        # with multiconfigs, targets may be repeated
        _builds.append(Build(list(dict.fromkeys(event.getPkgs()))))
        _builds[0].dead = names.check(d)
        if _builds[0].dead:
            return
        if facts.cache_mode(d):
            _builds[0].report_equivalences(d)
    elif name == "CookerExit":
        while _builds:
            build = _builds.pop()
            build.interrupted = True
            build.finish(d)
    elif not _builds:
        return
    elif name == "BuildCompleted":
        build = _builds[0]
        build.open -= 1
        build.failed |= bool(event.getFailures())
        build.interrupted |= bool(event._interrupted)
        if not build.open:
            _builds.clear()
            build.finish(d)
    else:
        _task(_builds[0], event, name, d)


def _task(build, event, name, d):
    if name == "HeartbeatEvent":
        if build.process is not None:  # restart a crashed writer, for which tasks are waiting
            build.need_writer(d)
            build.hear()
        return
    if name in ("runQueueTaskStarted", "sceneQueueTaskStarted"):
        if getattr(event, "noexec", False):
            build.noexec.add(event.taskid)
        else:
            build.need_writer(d)
            build.hear()
        return
    if name == "runQueueTaskSkipped":
        line = _line(event.taskid, event.taskhash)
        if line:
            build.skipped[event.taskid] = line
        return
    build.hear()
    line = _line(event.taskid, event.taskhash)
    if (
        line
        and event.taskid not in build.noexec
        and line[2] not in (d.getVar("PROV_IGNORED_TASKS") or "").split()
    ):
        build.executed[event.taskid] = line


def _line(tid, taskhash):
    """Return multiconfig, recipe, task, task hash and unihash of a task, as `TaskLine`.

    Returns None for an unknown task.
    """
    pn = bb.parse.siggen.tidtopn.get(tid)
    if pn is None:
        return None
    mc = bb.runqueue.mc_from_tid(tid)
    unihash = getattr(bb.parse.siggen, "unihash", {}).get(tid) or taskhash
    return [mc, pn, bb.runqueue.taskname_from_tid(tid), taskhash, unihash]
