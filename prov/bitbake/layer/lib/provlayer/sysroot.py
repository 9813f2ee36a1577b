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
        is_done = _Sysroots(d, data).extend()
    except (bb.BBHandledException, subprocess.CalledProcessError):
        # two recipes with one path, or a script that fails: it would be the same without prov
        raise
    except Exception as error:
        bb.warn(f"prov: the sysroots of {d.getVar('PN')} are made by {hooks.STAGING}: {error}")
        is_done = False
    finally:
        bb.utils.unlockfile(lock)
    if not is_done:
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
        self.needed, self.before = needed_recipes(d, data, self.task)

    # the account

    def path(self, name):
        return os.path.join(self.account, name)

    def installed_hashes(self):
        """Return what is installed: recipe -> its task hash, and whether all of it is there, and
        still staged.
        """
        hashes = {}
        for name in os.listdir(self.account):
            if os.path.islink(self.path(name)) and not name.endswith(".complete"):
                taskhash = os.readlink(self.path(name))[len(name) + 1 :]
                hashes[name] = (taskhash, os.path.exists(self.path(name + ".complete")))
        return hashes

    def lists(self):
        """Return what each task of the recipe needs: task -> the tasks before it, and its
        recipes.
        """
        lists = {}
        for name in os.listdir(self.account):
            if name.startswith("index."):
                with open(self.path(name)) as stream:
                    first, *rest = stream.read().splitlines() or [""]
                lists[name[len("index.") :]] = (first.split()[1:], set(rest))
        return lists

    def extend(self):
        """Bring the sysroots and the account up to date; return whether that could be done."""
        bb.utils.mkdirhier(self.account)
        installed, lists = self.installed_hashes(), self.lists()
        unstaged = self.unstaged(installed)
        # it may have been listed by other tasks
        self.invalidate(
            task for task, (_, recipes) in lists.items() if recipes & unstaged and task != self.task
        )
        surplus = (unstaged | self.unlisted(installed, lists)) - set(self.needed)
        new = {
            name: recipe
            for name, recipe in self.needed.items()
            if installed.get(name) != (recipe[0], True)
        }
        stay = {
            name
            for name, (_, is_complete) in installed.items()
            if is_complete and name not in surplus and name not in new
        }
        replaced = surplus | (new.keys() & installed.keys())
        if (new or surplus) and not self.compose(new, stay, replaced):
            return False
        with files.create(self.path("index." + self.task)) as stream:
            stream.write("TaskDeps: {}\n".format(" ".join(self.before)))
            stream.writelines(f"{name}\n" for name in sorted(self.needed))
        bb.note(
            "Installed into sysroot: {}; removed: {}".format(
                " ".join(sorted(new)), " ".join(sorted(surplus))
            )
        )
        return True

    def unstaged(self, installed):
        """Return the recipes that are not staged any more; not those that were begun just now."""
        return {
            name
            for name, (_, is_complete) in installed.items()
            if not is_complete and os.path.islink(self.path(name + ".complete"))
        }

    def unlisted(self, installed, lists):
        """Return the installed recipes that this task alone had listed, and does not need any
        more.
        """
        own = lists.get(self.task, ((), set()))[1]
        of_others = set()
        for task, (before, recipes) in lists.items():
            if task != self.task and self.task not in before:
                of_others |= recipes
        return (own & installed.keys()) - set(self.needed) - of_others

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
        question = self.question(staged, lists)
        for name, (taskhash, _) in new.items():
            self.note_begin(name, taskhash, *staged[name])
        if not self.ask(question):
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

    def question(self, staged, lists):
        """Return the sysroots that the writer is asked for: `messages.SysrootsBody`."""
        words = [("FIXMESTAGINGDIRTARGET", self.target), ("FIXMESTAGINGDIRHOST", self.native)]
        words += [(f"FIXME_{name}", self.d.getVar(name) or "None") for name in FIXMES]
        sysroots = {}
        for name, (top, folder, manifest) in sorted(staged.items()):
            sysroots.setdefault(top, []).append((name, folder, manifest))
        for top in filter(None, map(top_of, lists)):
            sysroots.setdefault(os.path.join(self.workdir, top), [])
        contents = [
            {"directory": top, "packages": packages, "fixmes": words, "lists": lists}
            for top, packages in sorted(sysroots.items(), reverse=True)  # native ones first
        ]
        return {"sysroots": contents}

    def ask(self, question):
        """Have the writer compose sysroots; return whether it did.

        The task fails if it would fail without prov, too.
        """
        request = dict(facts.names(self.d, self.d.getVar("BB_RUNTASK")), what="sysroot")
        answer = wire.ask(facts.socket_path(self.d), request, json.dumps(question).encode())
        if answer is None:
            return False  # the server has warned that there is no writer
        if answer.get("refused"):
            bb.fatal("{} ({})".format(answer["error"], answer["hint"]))
        if "error" in answer:
            bb.note("prov: {}".format(answer["error"]))
            return False
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


class _SharedTasks:
    """The tasks with shared state that others depend on, directly or through tasks without."""

    def __init__(self, data, shared):
        self.data = data
        self.shared = shared
        self.reached = {}

    def is_shared(self, tid):
        return self.data[tid][1] in self.shared

    def below(self, tid):
        """Return the tasks with shared state that a task depends on."""
        pending = [tid]
        while pending:
            task = pending[-1]
            dependencies = self.data[task][3]
            unknown = [
                dep for dep in dependencies if not self.is_shared(dep) and dep not in self.reached
            ]
            if unknown:
                pending += unknown
                continue
            pending.pop()
            self.reached[task] = set()
            for dep in dependencies:
                self.reached[task] |= {dep} if self.is_shared(dep) else self.reached[dep]
            self.reached[task].discard(task)
        return self.reached[tid]


def needed_recipes(d, data, name):
    """Return the recipes whose staged files a task needs: recipe -> (task hash, recipe file); and
    the tasks before it.

    From the tasks that it depends on directly, but for those without shared state, which stand for
    what they depend on themselves; and from there as far as shared state would be needed, which
    BB_SETSCENE_DEPVALID decides.
    """
    pn = d.getVar("PN")
    shared = _SharedTasks(data, {*d.getVar("SSTATETASKS").split(), "do_stash_locale", "do_deploy"})
    start = next((tid for tid, row in data.items() if row[0] == pn and row[1] == name), None)
    if start is None:
        bb.fatal(f"{pn}:{name} is not in BB_TASKDEPDATA")
    recipes = {
        data[tid][0]: (data[tid][5], data[tid][2])
        for tid in _needed_tasks(d, data, shared, start)
        if data[tid][1] == "do_populate_sysroot"
    }
    if name in ("do_sdk_depends", "do_populate_sdk_ext"):
        recipes = {
            recipe: staged for recipe, staged in recipes.items() if not recipe.endswith("-initial")
        }
    return recipes, [row[1] for row in data.values() if row[0] == pn and row[1] != name]


def _needed_tasks(d, data, shared, start):
    """Return the tasks whose shared state a task needs."""
    valid = d.getVar("BB_SETSCENE_DEPVALID") or "setscene_depvalid"
    needed = set(shared.below(start))
    pending = sorted(needed)
    while pending:
        tid = pending.pop()
        for dep in sorted(shared.below(tid) - needed):
            pair = {tid: data[tid][:2], dep: data[dep][:2]}
            names = {"task": dep, "dependees": pair, "d": d}
            if not bb.utils.better_eval(f"{valid}(task, dependees, [], d, [])", names):
                needed.add(dep)
                pending.append(dep)
    return needed
