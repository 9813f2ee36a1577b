"""Compose a recipe's sysroots with the writer, instead of extend_recipe_sysroot of staging.bbclass.

PROV_SYSROOTS = "1" enables it. The result is the same as that of staging.bbclass, and so is the
content of its folder `installeddeps`. Each build can therefore enable or disable PROV_SYSROOTS, and
after an error the original function runs. In `installeddeps`, each task has a list of the recipes
that it needs (index.TASK). A sysroot contains the recipes of all lists.

The function is replaced in the process of a task, after all hashes are computed, so no hash depends
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
"""Name under which the function of staging.bbclass is saved."""
EXCLUDED = ("do_prepare_recipe_sysroot", "do_create_spdx")
"""Tasks that get no sysroot before they run. The first one creates it."""
WARNING_TASKS = ("do_prepare_recipe_sysroot", "do_populate_sysroot_setscene")
"""Tasks that warn about hooks without effect. Each recipe runs at most one of them."""
FIXMES = ("PSEUDO_SYSROOT", "HOSTTOOLS_DIR", "PKGDATA_DIR", "PSEUDO_LOCALSTATEDIR", "LOGFIFO")
"""Variables whose values replace the tokens FIXME_VARIABLE."""
SCRIPTS = "usr/bin/postinst-"


def begin(d, name):
    """Replace staging.bbclass's function before a task.

    Call it if the task needs, or had, sysroots and staging.bbclass has not added the call.
    """
    own = d.getVar(FUNCTION, False)
    if own is None:
        return
    if name in WARNING_TASKS:
        hooks.warn(d)
    d.setVar(PLAIN, own)
    for flag, value in (d.getVarFlags(FUNCTION) or {}).items():
        d.setVarFlag(PLAIN, flag, value)
    d.setVar(FUNCTION, "    import provlayer.sysroot\n    provlayer.sysroot.extend(d)\n")
    if name not in EXCLUDED and not name.endswith("_setscene"):
        # another handler added the dependency after staging.bbclass checked for it, or removed it
        wants = "populate_sysroot" in (d.getVarFlag(name, "depends") or "")
        had = os.path.exists(
            os.path.join(d.getVar("RECIPE_SYSROOT_NATIVE"), "installeddeps", f"index.{name}")
        )
        if (wants or had) and FUNCTION not in (d.getVarFlag(name, "prefuncs") or "").split():
            bb.build.exec_func(FUNCTION, d)


def extend(d):
    """Update the recipe's sysroots for the running task."""
    data = d.getVar("BB_TASKDEPDATA", False)
    if d.getVar("BB_LIMITEDDEPS") or not data:  # bitbake -b: dependencies are unknown
        bb.build.exec_func(PLAIN, d)
        return
    lock = bb.utils.lockfile(os.path.join(d.getVar("RECIPE_SYSROOT"), "sysroot.lock"))
    try:
        is_done = _Sysroots(d, data).extend()
    except (bb.BBHandledException, subprocess.CalledProcessError):
        # two recipes stage one path, or a script failed: the task would also fail without prov
        raise
    except Exception as error:
        bb.warn(f"prov: {hooks.STAGING} creates the sysroots of {d.getVar('PN')}: {error}")
        is_done = False
    finally:
        bb.utils.unlockfile(lock)
    if not is_done:
        bb.build.exec_func(PLAIN, d)


class _Sysroots:
    """The content of a recipe's sysroots by `installeddeps`, and the recipes that a task needs."""

    def __init__(self, d, data):
        self.d = d
        self.task = d.getVar("BB_RUNTASK").replace("_setscene", "")
        self.workdir = d.getVar("WORKDIR")
        self.native = d.getVar("RECIPE_SYSROOT_NATIVE")
        self.target = d.getVar("RECIPE_SYSROOT")
        self.account = os.path.join(self.native, "installeddeps")
        self.multilibs = {}
        self.needed, self.before = needed_recipes(d, data, self.task)

    # installeddeps

    def path(self, name):
        return os.path.join(self.account, name)

    def installed_hashes(self):
        """Return recipe -> its task hash, and whether it is completely installed and staged."""
        hashes = {}
        for name in os.listdir(self.account):
            if os.path.islink(self.path(name)) and not name.endswith(".complete"):
                taskhash = os.readlink(self.path(name))[len(name) + 1 :]
                hashes[name] = (taskhash, os.path.exists(self.path(name + ".complete")))
        return hashes

    def lists(self):
        """Return task -> the tasks before it, and the recipes that it needs."""
        lists = {}
        for name in os.listdir(self.account):
            if name.startswith("index."):
                with open(self.path(name)) as stream:
                    first, *rest = stream.read().splitlines() or [""]
                lists[name[len("index.") :]] = (first.split()[1:], set(rest))
        return lists

    def extend(self):
        """Update the sysroots and `installeddeps`. Return False if the writer could not do it."""
        bb.utils.mkdirhier(self.account)
        installed, lists = self.installed_hashes(), self.lists()
        unstaged = self.unstaged(installed)
        # other tasks may have listed these recipes
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
        """Return the installed recipes that are no longer staged.

        A recipe whose installation was interrupted is not one of them.
        """
        return {
            name
            for name, (_, is_complete) in installed.items()
            if not is_complete and os.path.islink(self.path(name + ".complete"))
        }

    def unlisted(self, installed, lists):
        """Return the installed recipes that only this task had listed and no longer needs."""
        own = lists.get(self.task, ((), set()))[1]
        of_others = set()
        for task, (before, recipes) in lists.items():
            if task != self.task and self.task not in before:
                of_others |= recipes
        return (own & installed.keys()) - set(self.needed) - of_others

    def invalidate(self, tasks):
        """Invalidate the stamps of tasks whose sysroots lack recipes now."""
        for name in sorted(tasks):
            bb.note(f"Invalidating stamps for task {name}")
            bb.build.clean_stamp(name, self.d)

    # composing

    def compose(self, new, stay, old):
        """Compose the sysroots with the writer. Return whether it succeeded.

        The `new` recipes are marked as incomplete in `installeddeps` until they are installed.
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
        for path in lists:  # delete the lists of replaced recipes
            if os.path.basename(path) not in current and os.path.exists(path):
                os.unlink(path)
        return True

    def question(self, staged, lists):
        """Return the request's body: the sysroots to compose, as `messages.SysrootsBody`."""
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
        """Send the request to the writer. Return whether the sysroots were composed.

        Fails the task if it would also fail without prov.
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
        """Return the sysroot for a recipe's files, the folder with them, and their manifest."""
        import oe.sstatesig

        manifest, d2 = oe.sstatesig.find_sstate_manifest(
            name, fn, "populate_sysroot", self.d, self.multilibs
        )
        if name.endswith("-native") or "-cross-" in name or "-crosssdk" in name:
            return self.native, self.folder(manifest), manifest
        if d2 is not self.d:  # another multilib: its sysroot path must use this recipe's WORKDIR
            d2.setVar("WORKDIR", self.workdir)
        other = d2 is not self.d and "allarch" not in manifest
        return (
            d2.getVar("RECIPE_SYSROOT") if other else self.target,
            self.folder(manifest),
            manifest,
        )

    def installed(self, name):
        """Return the same as `staged` for an installed recipe."""
        manifest = os.readlink(self.path(name + ".complete"))
        top = top_of(self.path(name)) or os.path.basename(self.target)
        return os.path.join(self.workdir, top), self.folder(manifest), manifest

    def folder(self, manifest):
        """Return the folder with a recipe's staged files: ARCH/RECIPE in COMPONENTS_DIR."""
        top = self.d.getVar("COMPONENTS_DIR")
        with open(manifest) as stream:
            line = stream.readline().strip()
        if not line.startswith(top + "/"):
            return os.path.join(top, "none")  # nothing was staged
        return os.path.join(top, *line[len(top) + 1 :].split("/")[:2])

    def note_begin(self, name, taskhash, top, folder, manifest):
        """Mark a recipe as being installed.

        If the task is killed, the next one finds the list and removes the new and the old files.
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
        """Mark a recipe as installed.

        The lists of a recipe in all sysroots are hardlinks to one file, where possible.
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
        """Return the paths of a recipe's files, relative to WORKDIR, one per line."""
        with open(manifest) as stream:
            found = [line.strip()[len(folder) :] for line in stream]
        prefix = os.path.relpath(top, self.workdir)
        return [
            f"{prefix}{path}\n" for path in found if path not in ("/fixmepath", "/fixmepath.cmd")
        ]

    def forget(self, name):
        """Remove a recipe from `installeddeps`."""
        link = self.path(name)
        for path in (self.path(os.readlink(link)), link, link + ".complete"):
            if os.path.lexists(path):
                os.unlink(path)

    def run_scripts(self, manifests):
        """Run all scripts of the sysroots if a new one was installed.

        All run again because a new script may have overwritten the results of another.
        """
        if not any(has_scripts(path) for path in manifests):
            return
        before = facts.heed_children()  # otherwise failures of scripts are not noticed
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
    """Return whether a manifest lists scripts that run in the sysroot."""
    with open(manifest) as stream:
        return any(f"/{SCRIPTS}" in line for line in stream)


def top_of(manifest):
    """Return the name of the sysroot that a list in `installeddeps` is for, empty if unknown."""
    with open(manifest) as stream:
        return stream.readline().partition("/")[0].strip()


class _SharedTasks:
    """Finds the tasks with shared state that a task depends on, directly or through other tasks."""

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
    """Return the recipes whose staged files a task needs, and the tasks of its recipe before it.

    The recipes are returned as recipe -> (task hash, recipe file). They are found from the tasks
    that the task depends on. A dependency without shared state is replaced by its own
    dependencies. From there, dependencies are followed as far as BB_SETSCENE_DEPVALID requires
    their shared state.
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
