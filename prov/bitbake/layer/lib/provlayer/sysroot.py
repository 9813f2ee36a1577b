"""A recipe's sysroots composed by the writer, in the place of staging.bbclass's
extend_recipe_sysroot.

Switched on by PROV_SYSROOTS = "1". What a task gets is what staging.bbclass would give it, and its
account, the folder `installeddeps`, is kept as it keeps it: each build may have the switch on or
off, and whatever goes wrong here is made good by its own function. Every task has its own list
there (index.TASK) of recipes whose files it wants; a sysroot holds what any of them lists.

It is put in place in the process of a task, when hashes are known long since, so that none depends
on it.
"""

import glob
import json
import os
import signal
import subprocess

import bb

from provlayer import facts, files, hooks, wire

FUNCTION = "extend_recipe_sysroot"
PLAIN = "prov_plain_extend_recipe_sysroot"
"""The name under which staging.bbclass's own function is kept."""
EXCLUDED = ("do_prepare_recipe_sysroot", "do_create_spdx")
"""Tasks that get no sysroot before they run: the first one is there to make it."""
TELLING = ("do_prepare_recipe_sysroot", "do_populate_sysroot_setscene")
"""Tasks of which each recipe runs one at the most: they name what it hooks in vain."""
FIXMES = ("PSEUDO_SYSROOT", "HOSTTOOLS_DIR", "PKGDATA_DIR", "PSEUDO_LOCALSTATEDIR", "LOGFIFO")
"""Variables whose tokens, FIXME_ and the name, are replaced by their values."""
SCRIPTS = "usr/bin/postinst-"


def begin(d, name):
    """Before a task: have its sysroot made by the writer, whenever staging.bbclass would make
    it.
    """
    own = d.getVar(FUNCTION, False)
    if own is None:
        return
    if name in TELLING:
        hooks.tell(d)
    d.setVar(PLAIN, own)
    for flag, value in (d.getVarFlags(FUNCTION) or {}).items():
        d.setVarFlag(PLAIN, flag, value)
    d.setVar(FUNCTION, "    import provlayer.sysroot\n    provlayer.sysroot.extend(d)\n")
    if name not in EXCLUDED and not name.endswith("_setscene"):
        # what another handler added after staging.bbclass had looked; or what is not needed any
        # more
        wants = "populate_sysroot" in (d.getVarFlag(name, "depends") or "")
        had = os.path.exists(
            os.path.join(d.getVar("RECIPE_SYSROOT_NATIVE"), "installeddeps", f"index.{name}")
        )
        if (wants or had) and FUNCTION not in (d.getVarFlag(name, "prefuncs") or "").split():
            bb.build.exec_func(FUNCTION, d)


def extend(d):
    """Give the task that runs the sysroots that it depends on."""
    data = d.getVar("BB_TASKDEPDATA", False)
    if d.getVar("BB_LIMITEDDEPS") or not data:  # bitbake -b: whatever is there
        bb.build.exec_func(PLAIN, d)
        return
    lock = bb.utils.lockfile(os.path.join(d.getVar("RECIPE_SYSROOT"), "sysroot.lock"))
    try:
        done = _Sysroots(d, data).extend()
    except (bb.BBHandledException, subprocess.CalledProcessError):
        # two recipes with one path, or a script that fails: it would be the same without prov
        raise
    except Exception as error:
        bb.warn(f"prov: the sysroots of {d.getVar('PN')} are made by {hooks.STAGING}: {error}")
        done = False
    finally:
        bb.utils.unlockfile(lock)
    if not done:
        bb.build.exec_func(PLAIN, d)


class _Sysroots:
    """What is in a recipe's sysroots, by the account of it, and what a task wants there."""

    def __init__(self, d, data):
        self.d = d
        self.task = d.getVar("BB_RUNTASK").replace("_setscene", "")
        self.workdir = d.getVar("WORKDIR")
        self.native = d.getVar("RECIPE_SYSROOT_NATIVE")
        self.target = d.getVar("RECIPE_SYSROOT")
        self.account = os.path.join(self.native, "installeddeps")
        self.multilibs = {}
        self.wanted, self.before = wanted(d, data, self.task)

    # the account

    def path(self, name):
        return os.path.join(self.account, name)

    def there(self):
        """Return what is installed: recipe -> its task hash, and whether all of it is there, and
        still staged.
        """
        found = {}
        for name in os.listdir(self.account):
            if os.path.islink(self.path(name)) and not name.endswith(".complete"):
                taskhash = os.readlink(self.path(name))[len(name) + 1 :]
                found[name] = (taskhash, os.path.exists(self.path(name + ".complete")))
        return found

    def lists(self):
        """Return what each task of the recipe wants: task -> the tasks before it, and its
        recipes.
        """
        found = {}
        for name in os.listdir(self.account):
            if name.startswith("index."):
                with open(self.path(name)) as stream:
                    first, *rest = stream.read().splitlines() or [""]
                found[name[len("index.") :]] = (first.split()[1:], set(rest))
        return found

    def extend(self):
        """Bring the sysroots and the account up to date; return whether that could be done."""
        bb.utils.mkdirhier(self.account)
        there, lists = self.there(), self.lists()
        # what is not staged any more, and was not begun just now: it may have been listed by other
        # tasks
        gone = {
            name
            for name in there
            if os.path.islink(self.path(name + ".complete")) and not there[name][1]
        }
        self.invalidate(
            {each for each, (_, recipes) in lists.items() if recipes & gone and each != self.task}
        )
        own = lists.pop(self.task, ((), set()))[1]
        needed = {
            name
            for before, recipes in lists.values()
            if self.task not in before
            for name in recipes
        }
        gone |= {
            name for name in own if name in there and name not in self.wanted and name not in needed
        }
        new = {
            name: each for name, each in self.wanted.items() if there.get(name) != (each[0], True)
        }
        stay = {name for name in there if name not in gone and name not in new and there[name][1]}
        gone -= set(self.wanted)
        if (new or gone) and not self.compose(
            new, stay, gone | {name for name in new if name in there}
        ):
            return False
        with files.create(self.path("index." + self.task)) as stream:
            stream.write("TaskDeps: {}\n".format(" ".join(self.before)))
            stream.writelines(f"{name}\n" for name in sorted(self.wanted))
        bb.note(
            "Installed into sysroot: {}; removed: {}".format(
                " ".join(sorted(new)), " ".join(sorted(gone))
            )
        )
        return True

    def invalidate(self, tasks):
        """Let tasks run again of whose sysroot something is missing now."""
        for name in sorted(tasks):
            bb.note(f"Invalidating stamps for task {name}")
            bb.build.clean_stamp(name, self.d)

    # composing

    def compose(self, new, stay, old):
        """Have the writer make the sysroots; return whether it did.

        What is `new` is not complete until it is there.
        """
        staged = {name: self.staged(name, *each) for name, each in new.items()}
        staged.update((name, self.installed(name)) for name in stay)
        lists = [
            self.path(os.readlink(self.path(name)))
            for name in stay | old
            if os.path.exists(self.path(name))
        ]
        words = [("FIXMESTAGINGDIRTARGET", self.target), ("FIXMESTAGINGDIRHOST", self.native)]
        words += [(f"FIXME_{name}", self.d.getVar(name) or "None") for name in FIXMES]
        sysroots = {}
        for name, (top, folder, manifest) in sorted(staged.items()):
            sysroots.setdefault(top, []).append((name, folder, manifest))
        for top in filter(None, map(top_of, lists)):
            sysroots.setdefault(os.path.join(self.workdir, top), [])
        question = [
            {"directory": top, "packages": packages, "fixmes": words, "lists": lists}
            for top, packages in sorted(sysroots.items(), reverse=True)  # native ones first
        ]
        for name, (taskhash, _) in new.items():
            self.note_begin(name, taskhash, *staged[name])
        request = dict(facts.names(self.d, self.d.getVar("BB_RUNTASK")), what="sysroot")
        body = json.dumps({"sysroots": question}).encode()
        answer = wire.ask(facts.socket_path(self.d), request, body)
        if answer is None:
            return False  # that there is no writer was told
        if answer.get("refused"):
            bb.fatal("{} ({})".format(answer["error"], answer["hint"]))
        if "error" in answer:
            bb.note("prov: {}".format(answer["error"]))
            return False
        for name in old - set(new):
            self.forget(name)
        self.run_scripts([self.path(name) for name in new])
        for name, (taskhash, _) in new.items():
            self.note_end(name, taskhash, *staged[name])
        current = {os.readlink(self.path(name)) for name in stay | set(new)}
        for path in lists:  # of what was replaced
            if os.path.basename(path) not in current and os.path.exists(path):
                os.unlink(path)
        return True

    def staged(self, name, _taskhash, fn):
        """Return where a recipe's files go to, where it staged them, and the manifest of that."""
        import oe.sstatesig

        manifest, d2 = oe.sstatesig.find_sstate_manifest(
            name, fn, "populate_sysroot", self.d, self.multilibs
        )
        if name.endswith("-native") or "-cross-" in name or "-crosssdk" in name:
            return self.native, self.folder(manifest), manifest
        if d2 is not self.d:  # of another multilib: the path is made with this recipe's WORKDIR
            d2.setVar("WORKDIR", self.workdir)
        other = d2 is not self.d and "allarch" not in manifest
        return (
            d2.getVar("RECIPE_SYSROOT") if other else self.target,
            self.folder(manifest),
            manifest,
        )

    def installed(self, name):
        """The same of what is installed already."""
        manifest = os.readlink(self.path(name + ".complete"))
        top = top_of(self.path(name)) or os.path.basename(self.target)
        return os.path.join(self.workdir, top), self.folder(manifest), manifest

    def folder(self, manifest):
        """Return the folder with what a recipe staged: ARCH/RECIPE in that of all of them."""
        top = self.d.getVar("COMPONENTS_DIR")
        with open(manifest) as stream:
            line = stream.readline().strip()
        if not line.startswith(top + "/"):
            return os.path.join(top, "none")  # nothing was staged
        return os.path.join(top, *line[len(top) + 1 :].split("/")[:2])

    def note_begin(self, name, taskhash, top, folder, manifest):
        """Note that a recipe is being installed, so that who comes after a kill takes it away, and
        what it replaces.
        """
        link, path = self.path(name), self.path(f"{name}.{taskhash}")
        before = set()
        if os.path.exists(link):
            with open(link) as stream:
                before = set(stream)
        lines = self.lines(top, folder, manifest)
        files.write(path, lines + sorted(before.difference(lines)))
        for mark in (link, link + ".complete"):
            if os.path.lexists(mark):
                os.unlink(mark)
        os.symlink(os.path.basename(path), link)

    def note_end(self, name, taskhash, top, folder, manifest):
        """Note that a recipe is installed.

        Its list is one file for all sysroots that it is in, as far as may be.
        """
        path = self.path(f"{name}.{taskhash}")
        subfolder = self.d.getVar("RECIPE_SYSROOT_MANIFEST_SUBDIR") or ""
        shared = os.path.join(
            self.d.getVar("COMPONENTS_DIR"), "manifests", subfolder, os.path.basename(path)
        )
        bb.utils.mkdirhier(os.path.dirname(shared))
        if not os.path.exists(shared):
            files.write(shared, self.lines(top, folder, manifest))
        os.unlink(path)
        try:
            os.link(shared, path)
        except OSError:  # another file system
            files.write(path, self.lines(top, folder, manifest))
        os.symlink(manifest, self.path(name + ".complete"))

    def lines(self, top, folder, manifest):
        """Return the paths of a recipe's files in WORKDIR, a line each."""
        with open(manifest) as stream:
            found = [line.strip()[len(folder) :] for line in stream]
        prefix = os.path.relpath(top, self.workdir)
        return [
            f"{prefix}{path}\n" for path in found if path not in ("/fixmepath", "/fixmepath.cmd")
        ]

    def forget(self, name):
        """Take a recipe out of the account."""
        link = self.path(name)
        for path in (self.path(os.readlink(link)), link, link + ".complete"):
            if os.path.lexists(path):
                os.unlink(path)

    def run_scripts(self, manifests):
        """Run all scripts that are there if one was installed: each may have undone what another
        did.
        """
        if not any(has_scripts(path) for path in manifests):
            return
        before = facts.heed_children()  # else each script succeeds
        try:
            for top in (self.target, self.native):
                for script in sorted(glob.glob(os.path.join(glob.escape(top), SCRIPTS + "*"))):
                    # A shell runs scripts without a #! line; the name is an argument, so the shell
                    # does not parse it.
                    command = ["/bin/sh", "-c", '"$0"', script]
                    said = subprocess.check_output(command, stderr=subprocess.STDOUT)
                    bb.note(f"Running postinst {script}, output:\n{said}")
        finally:
            if before is not None:
                signal.signal(signal.SIGCHLD, before)


def has_scripts(manifest):
    """Tell whether a manifest names scripts that are to run in the sysroot."""
    with open(manifest) as stream:
        return any(f"/{SCRIPTS}" in line for line in stream)


def top_of(manifest):
    """Return the sysroot, by its name in WORKDIR, that a list in the account speaks of; nothing of
    an empty one.
    """
    with open(manifest) as stream:
        return stream.readline().partition("/")[0].strip()


def wanted(d, data, name):
    """Return the recipes whose staged files a task wants: recipe -> (task hash, recipe file); and
    the tasks before it.

    From the tasks that it depends on directly, but for those without shared state, which stand for
    what they depend on themselves; and from there as far as shared state would be wanted, which
    BB_SETSCENE_DEPVALID decides.
    """
    pn = d.getVar("PN")
    shared = {*d.getVar("SSTATETASKS").split(), "do_stash_locale", "do_deploy"}
    known = {}

    def reach(tid):
        """Return the tasks with shared state that a task depends on."""
        pending = [tid]
        while pending:
            each = pending[-1]
            below = [
                dep for dep in data[each][3] if data[dep][1] not in shared and dep not in known
            ]
            if below:
                pending += below
                continue
            pending.pop()
            known[each] = set()
            for dep in data[each][3]:
                known[each] |= {dep} if data[dep][1] in shared else known[dep]
            known[each].discard(each)
        return known[tid]

    start = next((tid for tid, each in data.items() if each[0] == pn and each[1] == name), None)
    if start is None:
        bb.fatal(f"{pn}:{name} is not in BB_TASKDEPDATA")
    valid = d.getVar("BB_SETSCENE_DEPVALID") or "setscene_depvalid"
    done = set(reach(start))
    pending = sorted(done)
    while pending:
        tid = pending.pop()
        for dep in sorted(reach(tid) - done):
            pair = {tid: data[tid][:2], dep: data[dep][:2]}
            names = {"task": dep, "dependees": pair, "d": d}
            if not bb.utils.better_eval(f"{valid}(task, dependees, [], d, [])", names):
                done.add(dep)
                pending.append(dep)
    found = {
        data[tid][0]: (data[tid][5], data[tid][2])
        for tid in done
        if data[tid][1] == "do_populate_sysroot"
    }
    if name in ("do_sdk_depends", "do_populate_sdk_ext"):
        found = {recipe: each for recipe, each in found.items() if not recipe.endswith("-initial")}
    return found, [each[1] for each in data.values() if each[0] == pn and each[1] != name]
