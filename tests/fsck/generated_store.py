"""Generate a store as if by many builds, without building, for tests and benchmarks of history.

`make_store` simulates the builds of an artificial project: recipes that need each other, and an
image of all of them. Sources, patches and variables change from build to build. The result
of each task is a function of its inputs, so task hashes, outputs, skipped tasks and first parents
are the same as in real builds. Objects are written by prov's own functions (`write_run`,
`task_hash`) to a few large packs, as by `consolidate`. Refs are written at the end as one
`packed-refs`. The store depends only on the arguments.
"""

from __future__ import annotations

import itertools
import json
import random
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, cast

from prov.files import replace_file
from prov.recipes.variables import Reached
from prov.records.build_list import Line, Span, encode_tasks
from prov.records.ids import CommitId, OutputId, StaticKey, TaskHash
from prov.records.keys import TaskKey
from prov.records.output import Output
from prov.records.refs import BUILDS, OutputRef, RunRef, StaticRef, workdir_ref
from prov.records.run import Run, Start, author, empty_start, write_run
from prov.store.objects import (
    CONSTANT_IDENTITY,
    MODE_DIRECTORY,
    MODE_EXECUTABLE,
    MODE_FILE,
    Commit,
    Entry,
    Oid,
)
from prov.store.odb import ObjectWriter
from prov.store.repository import Store
from prov.tasks.definition import FORMAT
from prov.tasks.taskhash import HashOnly, OwnInputs, task_hash
from prov.worktree.attributes import EMPTY, Pair, TreeWriter
from tests.fsck.generated_folders import File, Folder, Objects, merged, with_items, without_times
from tests.fsck.generated_recipes import (
    AFTER,
    C_FILES,
    FIRST_BUILD,
    FROM,
    IMAGE,
    MACHINE,
    OUTPUTDIRS,
    PLAIN_FILES,
    REMEMBERED,
    TABLES,
    TASKS,
    TOOLS,
    VERSION,
    WITH_SYSROOT,
    Bodies,
    Recipe,
    Source,
    Taken,
    noise,
)


class Node(NamedTuple):
    """A task of the project's graph, and the keys of its dependencies."""

    key: str
    recipe: Recipe
    task: str
    after: str
    from_: tuple[str, ...]
    needs: tuple[str, ...]

    @property
    def edges(self) -> tuple[str, ...]:
        return (*((self.after,) if self.after else ()), *self.from_, *self.needs)

    @property
    def arch(self) -> str:
        return MACHINE if self.key == IMAGE else "x86_64"

    @property
    def chain(self) -> str:
        return "unpack" if self.task in AFTER else self.task

    @property
    def where(self) -> str:
        """The start directory of its script."""
        return "${B}" if self.task in WITH_SYSROOT else "${WORKDIR}"

    @property
    def staging(self) -> list[str]:
        return [f"{key} target sysroot-destdir" for key in self.needs]

    @property
    def outputdirs(self) -> list[str]:
        return [path.format(name=self.recipe.name) for path in OUTPUTDIRS.get(self.task, [])]


class Result(NamedTuple):
    """The result of a run."""

    task_hash: Oid
    output: Oid
    commit: Oid
    number: int
    workdir: Folder
    gives: Folder
    """The output as other tasks get it."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change before a build: the affected tasks, and a function that makes it."""

    tasks: tuple[str, ...]
    table: dict[str, object]
    name: str
    value: object


class History:
    """The project, and its recorded history so far."""

    def __init__(
        self, store: Store, objects: Objects, *, recipes: int, runs: int, seed: int
    ) -> None:
        self.store, self.objects, self.bodies = store, objects, Bodies(objects)
        self.random = random.Random(seed)
        self.runs, self.ran = runs, 0
        self.packs = _ends_of_packs(runs)
        self.refs: dict[str, Oid] = {}
        self.time = float(FIRST_BUILD)
        self.compiler = 2
        self.toolchain = b""
        self.recipes = self._make_recipes(recipes)
        self.nodes = {node.key: node for node in self._make_nodes()}
        self.users: dict[str, list[str]] = {key: [] for key in self.nodes}
        for node in self.nodes.values():
            for edge in node.edges:
                self.users[edge].append(node.key)
        needed = {edge for node in self.nodes.values() for edge in node.needs}
        staging = [node.key for node in self.nodes.values() if node.task == "populate_sysroot"]
        self.targets = [IMAGE, *(key for key in staging if key not in needed)]
        self.now: dict[str, Result] = {}
        """Task -> what it came to the last time that it was settled."""
        self.known: dict[str, dict[Oid, Result]] = {key: {} for key in self.nodes}
        self.static: dict[str, Oid] = {}
        self.own: dict[str, OwnInputs] = {}
        self.sysroots: dict[str, tuple[tuple[Oid, ...], Pair]] = {}
        self.dirty = set(self.nodes)
        self.listed: dict[str, tuple[list[Line], Oid]] = {}
        self.spans: list[tuple[str, float, float, int]] = []
        """Task, start, seconds and added bytes of each span of the simulated build."""
        self.undo: list[Change] = []
        self.counter = itertools.count(1)
        self.use_compiler()

    def _make_recipes(self, count: int) -> list[Recipe]:
        made: list[Recipe] = []
        for number in range(count):
            name = f"part{number:02}"
            depends = self.random.sample(made, min(len(made), self.random.choice((0, 1, 1, 2, 3))))
            paths = [path.format(name=name) for path in PLAIN_FILES] + [f"include/{name}.h"]
            paths += [f"src/{each}.c" for each in C_FILES] + [
                f"data/table-{each}" for each in range(TABLES)
            ]
            in_order = tuple(sorted(depends, key=lambda recipe: recipe.name))
            made.append(Recipe(name, in_order, number % 2 == 1, {path: Source() for path in paths}))
        return made

    def _make_nodes(self) -> Iterator[Node]:
        for recipe in self.recipes:
            key = recipe.name
            for task in TASKS:
                after = f"{key}:{AFTER[task]}" if task in AFTER else ""
                from_ = (f"{key}:{FROM[task]}",) if task in FROM else ()
                needs = [
                    f"{other.name}:populate_sysroot"
                    for other in recipe.depends
                    if task in WITH_SYSROOT
                ]
                yield Node(f"{key}:{task}", recipe, task, after, from_, tuple(needs))
        packages = tuple(f"{recipe.name}:package_deb" for recipe in self.recipes)
        yield Node(IMAGE, Recipe("image"), "image", "", packages, ())

    def use_compiler(self) -> None:
        """Capture the host's tools."""
        files = {f"usr/bin/{name}": self._tool(name) for name in TOOLS}
        self.toolchain = self.objects.tree(with_items(Folder(), files))
        commit = Commit(self.toolchain, (), CONSTANT_IDENTITY, "host-toolchain\n")
        self.refs[f"refs/prov/toolchain/{self.toolchain.hex()}"] = self.objects.add_commit(commit)
        self.own.clear()
        self.dirty |= self.nodes.keys()

    def _tool(self, name: str) -> File:
        version = self.compiler if name in ("gcc", "ld") else 0
        return self.objects.file(b"\x7fELF" + noise("tool", name, version), MODE_EXECUTABLE)

    # what changes between builds

    def reached(self, keys: Iterable[str]) -> set[str]:
        """Return the tasks and all their dependents."""
        found, pending = set(keys), list(keys)
        while pending:
            new = set(self.users[pending.pop()]) - found
            found |= new
            pending += new
        return found

    def change(self, room: int) -> bool:
        """Make a change that runs at most `room` tasks; return False if there is none."""
        for _ in range(8):
            change, back = (
                self._undone() if self.undo and self.random.random() < 0.06 else self._new_change()
            )
            if self._fits(change, room):
                old = change.table.get(change.name)
                if not back and not (isinstance(old, Source) and old.broken):
                    self.undo = [
                        *self.undo[-3:],
                        Change(change.tasks, change.table, change.name, old),
                    ]
                self._make(change)
                return True
        recipe = self.random.choice(self.recipes)
        change = self._of_variable(recipe, "DESCRIPTION", ("package_deb",))
        if not self._fits(change, room):
            return False
        self._make(change)
        return True

    def _fits(self, change: Change, room: int) -> bool:
        return len(self.reached({*change.tasks, *self.dirty})) <= room

    def _make(self, change: Change) -> None:
        if change.value is None:
            change.table.pop(change.name, None)
        else:
            change.table[change.name] = change.value
        for key in change.tasks:
            self.own.pop(key, None)
        self.dirty |= set(change.tasks)

    def _undone(self) -> tuple[Change, bool]:
        return self.undo.pop(), True

    def _new_change(self) -> tuple[Change, bool]:
        recipe, kind = self.random.choice(self.recipes), self.random.random()
        if kind < 0.72:
            return self._of_source(recipe), False
        if kind < 0.84:
            name = self.random.choice(("CFLAGS", "EXTRA_OECONF"))
            tasks = WITH_SYSROOT if name == "CFLAGS" else ("configure",)
            return self._of_variable(recipe, name, tasks), False
        if kind < 0.88:
            return self._of_variable(recipe, "DESCRIPTION", ("package_deb",)), False
        path = f"src/{self.random.choice(C_FILES)}.c"
        value = None if path in recipe.patches and kind < 0.92 else next(self.counter)
        table = cast(dict[str, object], recipe.patches)
        return Change((f"{recipe.name}:patch",), table, path, value), False

    def _of_variable(self, recipe: Recipe, name: str, tasks: Sequence[str]) -> Change:
        table = cast(dict[str, object], recipe.variables)
        return Change(
            tuple(f"{recipe.name}:{task}" for task in tasks), table, name, next(self.counter)
        )

    def _of_source(self, recipe: Recipe) -> Change:
        kind = self.random.random()
        if kind < 0.7:
            path = f"src/{self.random.choice(C_FILES)}.c"
        elif kind < 0.8:
            path = f"include/{recipe.name}.h"
        else:
            path = self.random.choice(
                [path for path in recipe.sources if not path.endswith((".c", ".h"))]
            )
        old, number = recipe.sources[path], next(self.counter)
        if path.endswith(".c") and kind < 0.15:
            new = old._replace(comment=number)
        else:
            new = Source(
                number, old.comment, path.endswith(".c") and kind > 0.6 and self._may_break
            )
        return Change((f"{recipe.name}:fetch",), cast(dict[str, object], recipe.sources), path, new)

    @property
    def _may_break(self) -> bool:
        """Return whether enough runs remain to fix a broken source."""
        return self.runs - self.ran > 3 * len(self.nodes)

    def mend(self) -> None:
        """Fix the sources that do not compile."""
        for recipe in self.recipes:
            for path, source in recipe.sources.items():
                if source.broken:
                    table = cast(dict[str, object], recipe.sources)
                    new = Source(next(self.counter), source.comment)
                    self._make(Change((f"{recipe.name}:fetch",), table, path, new))

    @property
    def broken(self) -> bool:
        return any(source.broken for recipe in self.recipes for source in recipe.sources.values())

    # one build

    def build(self, forced: Sequence[str] = ()) -> None:
        """Run the tasks that are due, and append the build to the history."""
        began, happened, failed = self.time, dict[str, str](), False
        work, unknown = self.reached({*self.dirty, *forced}), set[str]()
        done: set[str] = set()
        for key, node in self.nodes.items():
            if key in work:
                self.static[key] = self._hash(
                    HashOnly(), node, self.static.__getitem__, self.static.__getitem__
                )
        for key, node in self.nodes.items():
            if key not in work:
                continue
            oid = self._hash(
                self.objects,
                node,
                lambda edge: self.now[edge].task_hash,
                lambda at: self.now[at].output,
            )
            result = None if key in forced else self.known[key].get(oid)
            if result is not None:
                self.now[key] = result
                if not unknown.isdisjoint(node.edges):
                    unknown.add(key)
                    happened[key] = "cut off"
            else:
                unknown.add(key)
                for edge in node.edges:
                    happened.setdefault(edge, "restored")
                result = self.run(node, oid)
                if result is None:
                    failed, happened[key] = True, f"failed {oid.hex()}"
                    break
                happened[key] = "ran"
            done.add(key)
        self.dirty = work - done
        self.time += 0.05
        self._record(happened, began, ok=not failed)
        self.time += self.random.uniform(60, 7200)

    def _hash(self, sink: TreeWriter, node: Node, hash_of, output_of) -> Oid:  # type: ignore[no-untyped-def]
        own = self.own.get(node.key) or self._own(node)
        edges = {
            "after": (
                {node.after.partition(":")[2]: hash_of(node.after).hex()} if node.after else {}
            ),
            "from": {key: output_of(key).hex() for key in node.from_},
            "needs": {key: output_of(key).hex() for key in node.needs},
        }
        return task_hash(sink, own, edges)

    def _own(self, node: Node) -> OwnInputs:
        """Return a task's own inputs, as `InputsReader` collects them."""
        add, recipe, task = self.objects.add, node.recipe, node.task
        lines = [
            f"task {node.key}",
            f"arch target {node.arch}" if node.key != IMAGE else f"arch machine {MACHINE}",
        ]
        lines += ["interpreter sh", f"dir {node.where}"]
        lines += [f"outputdir {path}" for path in node.outputdirs]
        lines += [f"needs {text}" for text in node.staging]
        texts = {"task": "\n".join(lines) + "\n", "host-toolchain": f"{self.toolchain.hex()}\n"}
        texts["script"] = f"# {task}\nrun_{task}\n"
        entries = [
            Entry(name.encode(), MODE_FILE, add("blob", text.encode()))
            for name, text in texts.items()
        ]
        values = {"BPN": recipe.name, "PV": VERSION}
        if task in WITH_SYSROOT:
            values |= {"B": "${S}", "S": "${WORKDIR}/${BPN}-${PV}", "CC": "gcc"}
            values["CFLAGS"] = f"-O2 -DFLAG={recipe.variables['CFLAGS']}"
        if task == "configure":
            values["EXTRA_OECONF"] = f"--with-level={recipe.variables['EXTRA_OECONF']}"
        if task == "package_deb":
            values["DESCRIPTION"] = f"number {recipe.variables['DESCRIPTION']}"
        tables = {
            "variables": {name: self.objects.file(value.encode()) for name, value in values.items()}
        }
        if task == "fetch":
            inside = self.objects.tree(self.bodies.sources(recipe))
            tree = self.objects.add_tree([Entry(recipe.folder.encode(), MODE_DIRECTORY, inside)])
            entries.append(Entry(b"sources", MODE_DIRECTORY, tree))
        if task == "patch" and recipe.patches:
            tables["patches"] = self.bodies.patch_files(recipe)
        for kind, files in tables.items():
            tree = self.objects.add_tree(
                [Entry(name.encode(), file.mode, file.oid) for name, file in files.items()]
            )
            entries.append(Entry(kind.encode(), MODE_DIRECTORY, tree))
        own = self.own[node.key] = OwnInputs(tuple(entries), Reached((), ()))
        return own

    def run(self, node: Node, oid: Oid) -> Result | None:
        """Run a task; return None if it failed."""
        start, size = self._start(node), self.objects.size
        seconds = self.random.uniform(0.01, 4)
        began, self.time = self.time + 0.02, self.time + 0.04 + seconds
        taken = Taken(
            start[1], [self._sysroot(key) for key in node.needs], int(began * 1e9), self.compiler
        )
        if node.key == IMAGE:
            made = self.bodies.image(taken, self._packages())
        else:
            made = self.bodies.run(node.recipe, node.task, taken)
        output = None if made.output is None else Pair(self.objects.tree(made.output), None)
        run = Run(
            key=TaskKey(node.key),
            task_hash=TaskHash(oid),
            start=Start(CommitId(start[0]), EMPTY),  # its content is in its commit
            after=self.objects.pair(made.workdir),
            output=None if output is None else Output(output),
            log=made.log.encode(),
            environment=_environment(node),
            facts=self._facts(node, began, seconds, failed=output is None),
            sysroots=self._sysroots(node, taken.needs),
            definition=self._definition(node),
        )
        recorded = write_run(cast(ObjectWriter, self.objects), run, author(self.time))
        number = self._tag(node, oid, recorded.commit, failed=output is None)
        self.spans.append((node.key, began, seconds, self.objects.size - size))
        self.ran += 1
        if self.ran in self.packs:
            self.objects.finish_pack()
        if made.output is None:
            return None
        self.refs[str(OutputRef(TaskKey(node.key), TaskHash(oid)))] = recorded.output_commit
        self.refs[str(StaticRef(TaskKey(node.key), StaticKey(self.static[node.key])))] = (
            recorded.output_commit
        )
        gives = without_times(made.output)
        result = Result(oid, recorded.output, recorded.commit, number, made.workdir, gives)
        self._remember(node.key, result)
        return result

    def _definition(self, node: Node) -> bytes:
        """Return the task's definition for reruns, in the format of `define`."""
        sources: list[list[object]] = []
        patches: list[list[object]] = []
        if node.task == "fetch":
            tree = self.objects.tree(self.bodies.sources(node.recipe))
            sources = [[node.recipe.folder, 0o40755, tree.hex(), ""]]
        if node.task == "patch":
            files = self.bodies.patch_files(node.recipe).items()
            patches = [[name, MODE_FILE, file.oid.hex(), ""] for name, file in files]
        table = {
            "format": FORMAT,
            "version": VERSION,
            "arch": "machine" if node.key == IMAGE else "target",
            "arch_name": node.arch,
            "chain": node.chain,
            "after": [node.after] if node.after else [],
            "from": node.from_,
            "needs": node.needs,
            "direct": [],
            "staging": node.staging,
            "task": {
                "dir": node.where,
                "outputdir": node.outputdirs,
                "inputs": {"fetch": ["sources"], "patch": ["patches"]}.get(node.task, []),
                "interpreter": "sh",
                "hosttools": [],
                "network": False,
                "deploy": node.task in ("package_deb", "image"),
            },
            "export": [],
            "sysroot_owner": {},
            "excluded": {},
            "programs": [[name, f"/usr/bin/{name}"] for name in TOOLS],
            "sources": sources,
            "patches": patches,
        }
        rows = ",\n".join(
            f'"{name}": {json.dumps(value, sort_keys=True)}'
            for name, value in sorted(table.items())
        )
        return f"{{\n{rows}\n}}\n".encode()

    def _start(self, node: Node) -> tuple[Oid, Folder]:
        """Return the start commit and WORKDIR of a task."""
        if node.after:
            return self.now[node.after].commit, self.now[node.after].workdir
        if not node.from_:
            return empty_start(cast(ObjectWriter, self.objects)).commit, Folder()
        start = Folder(merged([self.now[key].gives for key in node.from_]).entries)
        message = f"start from {', '.join(node.from_)}\n"
        return (
            self.objects.add_commit(
                Commit(self.objects.tree(start), (), CONSTANT_IDENTITY, message)
            ),
            start,
        )

    def _sysroot(self, key: str) -> Folder:
        return self.now[key].gives.folder("sysroot-destdir")

    def _sysroots(self, node: Node, needs: Sequence[Folder]) -> dict[str, Pair]:
        """Return the sysroots' entries in the record."""
        if not needs:
            return {}
        taken = tuple(self.now[key].output for key in node.needs)
        before = self.sysroots.get(node.recipe.name)
        if before is None or before[0] != taken:
            before = self.sysroots[node.recipe.name] = (
                taken,
                Pair(self.objects.tree(merged(needs)), None),
            )
        return {"target": before[1]}

    def _packages(self) -> dict[str, Folder]:
        """Return the packages in the image."""
        found: dict[str, Folder] = {}
        for recipe in self.recipes:
            split = self.now[f"{recipe.name}:package"].gives.folder("packages-split")
            found |= {name: split.folder(name) for name in (recipe.name, f"{recipe.name}-doc")}
        return found

    def _facts(self, node: Node, began: float, seconds: float, *, failed: bool) -> dict[str, str]:
        return {
            "result": "failed: exit status 2" if failed else "ok",
            "began": f"{began:.3f}",
            "seconds": f"{seconds:.3f}",
            "sandbox": "bwrap",
            "host": "builder",
            "workdir": (
                f"/home/builder/project/build/work/{node.arch}/{node.recipe.name}/{node.chain}"
            ),
            "seen-workdir": f"/build/work/{node.arch}/{node.recipe.name}/{node.chain}",
            "outputdir": shlex.join(node.outputdirs),
        }

    def _tag(self, node: Node, oid: Oid, commit: Oid, *, failed: bool) -> int:
        prefix = RunRef(TaskKey(node.key), TaskHash(oid), 1, failed).prefix
        number = next(
            number for number in itertools.count(1) if f"{prefix}/{number}" not in self.refs
        )
        self.refs[f"{prefix}/{number}"] = commit
        self.refs[str(workdir_ref(node.arch, node.recipe.name, node.chain))] = commit
        return number

    def _remember(self, key: str, result: Result) -> None:
        known = self.known[key]
        known[result.task_hash] = self.now[key] = result
        if len(known) > REMEMBERED:
            del known[next(iter(known))]

    def _record(self, happened: Mapping[str, str], began: float, *, ok: bool) -> None:
        """Append a build to the history, encoded as by `record_build`."""
        lines: dict[str, list[Line]] = {}
        for key, result in self.now.items():
            if key not in self.dirty:
                line = Line(
                    TaskKey(key), TaskHash(result.task_hash), OutputId(result.output), result.number
                )
                lines.setdefault(key.partition(":")[0], []).append(line)
        facts = {"targets": " ".join(self.targets), "result": "ok" if ok else "failed"}
        facts |= {
            "seconds": f"{self.time - began:.3f}",
            "script-seconds": f"{(self.time - began) * 0.9:.3f}",
        }
        facts["own-seconds"] = f"{(self.time - began) * 0.1:.3f}"
        added = sum(added for *_, added in self.spans)
        facts |= {"host": "builder", "sandbox": "bwrap", "jobs": "2", "added": str(added)}
        counted = ("ran", "restored", "cut off", "stale")
        facts |= {
            what.replace(" ", "-"): str(sum(each == what for each in happened.values()))
            for what in counted
        }
        timeline = [
            Span(TaskKey(key), at - began, seconds, added) for key, at, seconds, added in self.spans
        ]
        self.spans = []
        versions = sorted(["image", *(recipe.name for recipe in self.recipes)])
        texts = {
            "happened": "".join(f"{key} {what}\n" for key, what in sorted(happened.items())),
            "build": "".join(f"{name} {value}\n" for name, value in facts.items()),
            "timeline": "".join(
                f"{on.key} {on.began:.3f} {on.seconds:.3f} {on.added}\n" for on in timeline
            ),
            "recipes": "".join(f"{name} {VERSION}\n" for name in versions),
        }
        entries = [
            Entry(name.encode(), MODE_FILE, self.objects.add("blob", each.encode()))
            for name, each in texts.items()
        ]
        tasks = [
            Entry(name.encode(), MODE_FILE, self._listed(name, each))
            for name, each in lines.items()
        ]
        entries.append(Entry(b"tasks", MODE_DIRECTORY, self.objects.add_tree(tasks)))
        before = self.refs.get(BUILDS)
        message = f"build of {facts['targets']}: {facts['result']}\n"
        tree = self.objects.add_tree(entries)
        commit = Commit(tree, (before,) if before else (), author(began), message)
        self.refs[BUILDS] = self.objects.add_commit(commit)

    def _listed(self, recipe: str, lines: list[Line]) -> Oid:
        before = self.listed.get(recipe)
        if before is None or before[0] != lines:
            text = encode_tasks(sorted(lines, key=lambda line: line.key))
            before = self.listed[recipe] = lines, self.objects.add("blob", text)
        return before[1]

    # many builds

    def play(self, builds: int) -> None:
        """Build until the numbers of runs and builds are reached."""
        made = 0
        while self.ran < self.runs or made < builds:
            left, failing = self.runs - self.ran, self.broken
            goal = left // max(builds - made, 1) if builds else self.random.choice((1, 1, 1, 40))
            if failing and (left < 2 * len(self.nodes) or self.random.random() < 0.8):
                self.mend()
            elif made and self.random.random() < 0.004 and left > 2 * len(self.nodes):
                self.compiler += 1
                self.use_compiler()
            elif made:
                for _ in self.recipes:  # more changes rarely run more tasks
                    if len(self.reached(self.dirty)) >= goal or not self.change(left):
                        break
            self.build(forced=(IMAGE,) if goal and not self.dirty else ())
            made += 1


def _environment(node: Node) -> dict[str, str]:
    workdir = f"/build/work/{node.arch}/{node.recipe.name}/{node.chain}"
    found = {
        "HOME": f"{workdir}/temp",
        "JOBS": "2",
        "LC_ALL": "C.UTF-8",
        "PATH": "/build/hosttools",
    }
    found |= {"RECIPE_SYSROOT": f"{workdir}/recipe-sysroot", "TZ": "UTC", "WORKDIR": workdir}
    return dict(sorted(found.items()))


def _ends_of_packs(runs: int) -> set[int]:
    """Return the runs after which a pack ends.

    Each pack is twice as large as the rest after it, and the last runs have one pack each.
    """
    ends, at = set[int](), 0
    while runs - at > 12:
        at += (runs - at) * 2 // 3
        ends.add(at)
    return ends | set(range(at, runs))


def make_store(
    path: Path, *, runs: int, recipes: int = 64, builds: int = 0, seed: int = 0
) -> Store:
    """Create and return a store with `runs` task commits at a path that does not exist.

    The number of recipes is as requested, or smaller if the runs are too few to build each recipe
    once. `builds` is the minimum number of builds that share the runs; by default each build has
    one or a few changes. The recipes are named `part00`, `part01` and so on and have the tasks
    `TASKS`; `image:image` contains all their packages.
    """
    recipes = max(min(recipes, (runs - 1) // len(TASKS)), 1)
    if runs < recipes * len(TASKS) + 1:
        raise ValueError(f"{runs} runs are too few: one recipe and the image take {len(TASKS) + 1}")
    store = Store.create(path)
    objects = Objects(store)
    try:
        history = History(store, objects, recipes=recipes, runs=runs, seed=seed)
        history.play(builds)
    except BaseException:
        objects.abort()
        raise
    objects.close()
    lines = [f"{oid.hex()} {name}\n" for name, oid in sorted(history.refs.items())]
    replace_file(
        path / "packed-refs",
        "".join(["# pack-refs with: peeled fully-peeled sorted \n", *lines]).encode(),
    )
    return Store.open(path)
