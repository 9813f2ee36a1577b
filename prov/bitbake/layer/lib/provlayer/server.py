"""In BitBake's server: the writer is started with the first task of a build, and told when the
build is over.

The writer's life hangs on this process: it reads from a pipe that closes when the server ends,
however that ends.
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
"""Seconds without a word after which a writer that is to end is given up."""
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
"""Variables of the user who runs bitbake that git and ssh may need to reach a remote, beside those
of git itself; and by which prov finds the key of that user, who wrote what it remembers.
"""
NOTES = 5
"""So many tasks that are not recorded get a note each, with the reason, while the build runs."""
STARTS = 3
"""How often a writer that crashes is started again, in one build."""


class Build:
    """A build under way: what it came to so far, and its writer."""

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
        self.said = b""
        self.losses = {}
        self.plain = {}
        self.dead = ""

    # the writer

    def need_writer(self, d):
        """Have a writer running, or say once why there is none."""
        if self.dead or (self.process is not None and self.process.poll() is None):
            return
        if self.process is not None:
            self.starts += 1
            self.process = None
        try:
            if self.starts >= STARTS:
                raise OSError(f"it crashed {self.starts} times")
            self._start(d)
        except OSError as error:
            self.dead, self.process = str(error), None
            bb.warn(f"prov: nothing is recorded of this build: {error}")

    def _start(self, d):
        origin = d.getVar("BB_ORIGENV", False)
        path = (origin.getVar("PATH") if origin else "") or os.environ.get("PATH", "")
        command = shutil.which(d.getVar("PROV_COMMAND"), path=path)
        if command is None:
            raise OSError(
                "PROV_COMMAND is {}, and there is no such program".format(d.getVar("PROV_COMMAND"))
            )
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
            # this may not be the main thread, which alone can do it here
            preexec_fn=facts.heed_children,
        )
        try:
            answer = self._listen(END)
        except ValueError:  # another program of this name
            answer = None
        if not isinstance(answer, dict) or "ready" not in answer:
            self.process.kill()
            self.process.wait()
            self.process, self.said = None, b""
            raise OSError(f"{command} bitbake writer did not start")

    def _listen(self, seconds):
        """Return the next line that the writer says, None when it ends or is silent for so long."""
        fd = self.process.stdout.fileno()
        while b"\n" not in self.said:
            if not select.select([fd], [], [], seconds)[0]:
                return None
            piece = os.read(fd, 1 << 16)
            if not piece:
                return None
            self.said += piece
        line, self.said = self.said.split(b"\n", 1)
        return json.loads(line)

    def hear(self):
        """Take up what the writer said meanwhile: what it could not record, and why."""
        if self.process is None:
            return
        while b"\n" in self.said or select.select([self.process.stdout.fileno()], [], [], 0)[0]:
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
        """Tell the writer what the build came to, and let it end."""
        if self.process is None:
            return
        self.need_writer(d)  # one that crashed left what it had recorded for another to find
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
            bb.warn(f"prov: the build is not recorded: {error}")
            self.process.kill()
            self.process.wait()
            return
        tell_all(self.losses, "is not recorded", "are not recorded")
        tell_all(
            self.plain,
            "got its sysroots from staging.bbclass",
            "got their sysroots from staging.bbclass",
        )
        if word is None:
            bb.warn("prov: the build is not recorded: the writer ended before")
        elif word["recorded"]:
            bb.note("prov: recorded as build {}".format(word["recorded"][:12]))

    # shared state

    def which(self, d, names):
        """Return those tasks whose objects the store has: names is tid -> what `cache` calls its
        object.
        """
        return set(self._ask(d, "which", {"objects": names}) or ())

    def _ask(self, d, what, question):
        """Ask the writer something and return its answer, None where there is none."""
        self.need_writer(d)
        if self.process is None or self.process.poll() is not None:
            return None
        self.hear()
        allowed = network_allowed(d)
        self.process.stdin.write(
            json.dumps(dict(question, what=what, network=allowed)).encode() + b"\n"
        )
        self.process.stdin.flush()
        word = self._listen(END)
        while word is not None and what not in word:
            self._note(word)
            word = self._listen(END)
        return word[what] if word else None

    def teach(self, d):
        """Tell this build directory's own hash equivalence server what other builds came to."""
        folder = d.getVar("PERSISTENT_DIR") or d.getVar("CACHE")
        if not hasattr(bb.parse.siggen, "client") or not (
            d.getVar("BB_HASHSERVE") or ""
        ).startswith("unix://"):
            return
        told, known = os.path.join(folder, "prov-equivalence"), set()
        if os.path.exists(told) and os.path.exists(os.path.join(folder, "hashserv.db")):
            with open(told) as stream:
                known = set(stream.read().split())
        new = self._ask(d, "equivalences", {"known": sorted(known)}) or {}
        with bb.parse.siggen.client() as client:
            for lines in new.values():
                for line in lines:
                    method, taskhash, outhash, unihash = line.split(" ")
                    client.report_unihash(taskhash, method, outhash, unihash, {})
        if new:
            bb.utils.mkdirhier(folder)
            files.write(told, [f"{name}\n" for name in sorted(known | set(new))])


def lose(losses, task, what, why):
    """Keep why something did not work for a task; print a note about the first ones."""
    losses.setdefault(task, why)
    if len(losses) <= NOTES:
        bb.note(f"prov: {task} {what}: {why}")


def tell_all(losses, one, many):
    """Warn once, when a build ends, of what happened to tasks (task -> why), in words for one of
    them and for many.
    """
    names = sorted(losses)
    if names:
        what = f"1 task {one}" if len(names) == 1 else f"{len(names)} tasks {many}"
        listed = " ".join(names[:20]) + (" …" if len(names) > 20 else "")
        first, why = next(iter(losses.items()))
        bb.warn(f"prov: {what}: {listed} ({first}: {why})")


def network_allowed(d):
    """Tell whether shared state may come from, and go to, other machines: as for mirrors of
    sstate.
    """
    forbidden = bb.utils.to_boolean(d.getVar("BB_NO_NETWORK"))
    return not forbidden or bool(bb.utils.to_boolean(d.getVar("SSTATE_MIRROR_ALLOW_NETWORK")))


def ask_which(d, names):
    """Return those tasks whose objects of shared state are in the store."""
    return _builds[0].which(d, names) if _builds else set()


_builds = []


def handle(event, d):
    """Handle an event of the server; nothing that goes wrong here is the build's affair."""
    try:
        _handle(event, event.__class__.__name__, d)
    except Exception as error:
        bb.warn(f"prov: {event.__class__.__name__}: {error}")


def _handle(event, name, d):
    if name == "BuildStarted":
        if _builds:  # one for each multiconfig
            _builds[0].open += 1
            return
        _builds.append(
            Build(list(dict.fromkeys(event.getPkgs())))
        )  # with multiconfigs, some are there twice
        _builds[0].dead = names.check(d)
        if _builds[0].dead:
            return
        if facts.cache_mode(d):
            _builds[0].teach(d)
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
        if build.process is not None:  # one that crashed is started again while tasks wait for it
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
    """Return multiconfig, recipe, task, task hash and unihash of a task."""
    pn = bb.parse.siggen.tidtopn.get(tid)
    if pn is None:
        return None
    mc = bb.runqueue.mc_from_tid(tid)
    unihash = getattr(bb.parse.siggen, "unihash", {}).get(tid) or taskhash
    return [mc, pn, bb.runqueue.taskname_from_tid(tid), taskhash, unihash]
