"""A build from request to deployment: recipes, graph, inputs, plan, hooks, run, deploy."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from prov.errors import BuildError, NameUnknown, ProvError
from prov.files import drop_acls, make_private
from prov.recipes import PROJECT_FILE
from prov.recipes.graph import Graph, Node, make_graph, resolve_targets
from prov.recipes.project import Project, allowed_environment
from prov.records.build_list import BuildList, Kept
from prov.records.ids import OutputId
from prov.records.keys import TaskKey
from prov.records.lookup import Records
from prov.remote.settings import Remote, read_remotes
from prov.scheduler.hooks import invalidated
from prov.scheduler.plan import Choices, Follow, Plan, make_plan
from prov.scheduler.summary import Progress, RunOptions, Summary
from prov.scheduler.tracing import named_tasks, traced_tasks
from prov.sharing.caches import Anywhere, Caches, Pulled, Wanted
from prov.store.odb import ObjectWriter
from prov.store.repository import Store
from prov.tasks.job import Composer, Workspace
from prov.tasks.paths import make_paths
from prov.tasks.sandbox import bubblewrap
from prov.tasks.taskhash import HashOnly, InputsReader, OwnInputs
from prov.tasks.toolchain import Toolchains
from prov.text import nearest
from prov.transport.access import Access

if TYPE_CHECKING:
    from prov.scheduler.deploy import Deployed
    from prov.scheduler.executor import Executor, LocalExecutor


@dataclass(frozen=True, slots=True)
class Request:
    """A user's request to plan, build or pull targets."""

    targets: tuple[str, ...]
    force: tuple[str, ...] = ()
    rebuild: bool = False
    only: bool = False
    follow: Follow = "changed"
    incremental: bool = False
    trace: tuple[str, ...] = ()
    """Tasks and recipes whose tasks run under strace, even if they are recorded."""


@dataclass(slots=True)
class Session:
    """A project and its store, opened for planning and building."""

    project: Project
    store: Store
    sysroots: Callable[[bool], Composer]
    """Returns a composer of sysroots; True if a sandbox protects them from writes by tasks."""
    environment: Mapping[str, str]
    """The caller's environment; tasks see only the variables that the project passes on."""
    sandbox: str = ""
    """`auto`, `bwrap` or `none`; empty: the value in prov.toml."""
    offline: bool = False
    """Whether to neither query remotes nor publish to them."""
    report: Callable[[str], object] = lambda _text: None
    """Called with a line of text before work that takes seconds."""
    caches: Caches = field(init=False)
    toolchains: Toolchains = field(init=False)

    def __post_init__(self) -> None:
        drop_acls(self.store.cache)
        self.toolchains = Toolchains(self.store, self.environment.get("PATH", ""), self.report)
        remotes = [] if self.offline else read_remotes(self.store)
        self.caches = Caches(self.store, remotes, Access(self.environment))

    @property
    def deploy_dir(self) -> Path:
        return self.project.builddir / "deploy"

    def plan_targets(self, *targets: str) -> tuple[Plan, Workspace]:
        """Return the plan for targets. Raises ProvError for invalid recipes or targets."""
        return self.plan(Request(targets))

    def plan(self, request: Request, *, dry: bool = True) -> tuple[Plan, Workspace]:
        """Return the plan for a request, after running plan hooks.

        Raises ProvError for invalid recipes or targets.
        """
        graph = make_graph(self.project, request.targets)
        with self.store.objects.writer() as writer:
            inputs = self._inputs(writer)
            own = {key: inputs.own(node, HashOnly()) for key, node in graph.nodes.items()}
        workspace = self._workspace(inputs)
        choices = self._choices(request, graph)
        plan = self._plan(graph, own, choices, workspace)
        # query remotes only if something is neither in the store nor known to be published
        if self.caches.remotes and (plan.work or (plan.fetches and self.caches.is_outdated())):
            self._ask_remotes(plan)
            plan = self._plan(graph, own, choices, workspace)
            self.caches.explain(
                (step.key, step.task_hash) for step in plan.work if step.task_hash is not None
            )
        scripts = [self.project.root / name for name in self.project.settings.get("plan_hooks", [])]
        again = invalidated(plan, self.workdirs(plan, workspace), scripts, dry=dry)
        if again - choices.force:
            choices = dataclasses.replace(choices, force=choices.force | again)
        # a hook may have deleted WORKDIRs or recorded something, so plan again
        if again or scripts:
            plan = self._plan(graph, own, choices, workspace)
        self._check_only(plan)
        return plan, workspace

    def _ask_remotes(self, plan: Plan) -> None:
        """Update the indexes of the remotes for the tasks of a plan."""
        self.caches.refresh()
        ids = [oid for step in plan.steps.values() for oid in (step.static_key, step.task_hash)]
        self.caches.look_up(oid for oid in ids if oid is not None)

    def workdirs(self, plan: Plan, workspace: Workspace) -> dict[TaskKey, Path]:
        """Return each task's WORKDIR."""
        paths: dict[tuple[str, str, str], Path] = {}  # making a path costs more than a look-up
        workdirs = {}
        for key, node in plan.graph.nodes.items():
            chain = plan.graph.chain(key)
            name = (node.arch, node.recipe.name, chain)
            if name not in paths:
                paths[name] = workspace.workdir(node, chain)
            workdirs[key] = paths[name]
        return workdirs

    def build(
        self,
        request: Request,
        progress: Progress,
        options: RunOptions,
        farm: Callable[[LocalExecutor, Plan], Executor] | None = None,
    ) -> tuple[Summary, Deployed]:
        """Build the targets of a request; `farm` returns an executor that uses other machines.

        Failed tasks are reported in the summary. Raises ProvError for other failures.
        """
        # a plan needs none of these, and importing them costs as much as planning 500 tasks
        from prov.claims.keeper import keeping_claims
        from prov.scheduler.claims import claims_of
        from prov.scheduler.run import Runner
        from prov.sharing.pushing import publishing
        from prov.tasks.stray_writes import StoreSeal, stray_writes
        from prov.upkeep.background import start_upkeep
        from prov.upkeep.free_space import check_free_space
        from prov.upkeep.rules import rules_from

        origin = str(self.project.root / PROJECT_FILE)
        check_free_space(self.store.path, self.project.settings, origin)
        begun, size = time.monotonic(), self.store.objects.size()
        plan, workspace = self.plan(request, dry=False)
        traced = traced_tasks(
            named_tasks(plan.graph, request.trace),
            self.project.settings,
            sandbox=workspace.sandbox,
            search_path=self.environment.get("PATH", ""),
            note=progress.note,
        )
        if workspace.sandbox is None:
            progress.note("no sandbox: tasks can access files that they did not declare")
        make_private(workspace.work)
        seal = StoreSeal(self.store)
        for text in self.caches.notes:
            progress.note(text)
        self.caches.notes.clear()
        remotes, access = self._publishing_to(plan), self.caches.access
        claimed = self.caches.usable if plan.work else []
        with (
            keeping_claims(self.store, claimed, access) as keeper,
            publishing(self.store, remotes, access, progress.note, keeper) as publishers,
        ):
            runner = Runner.of(
                workspace,
                plan,
                self.toolchains,
                progress,
                dataclasses.replace(options, traced=traced),
                anywhere=self.anywhere(plan.graph, workspace),
                publishers=publishers,
                claims=claims_of(keeper, options.jobs, progress.note),
                farm=farm,
            )
            summary = runner.run()
        if workspace.sandbox is None and summary.spans and not summary.interrupted:
            for line in stray_writes(workspace, plan.graph, plan.own, summary.spans, seal):
                progress.note(line)
        deployed = self._deploy(plan, summary, workspace)
        if plan.work or plan.fetches:
            rules, automatic = rules_from(self.project.settings, origin)
            start_upkeep(self.store, rules if automatic else None)
        summary.seconds = time.monotonic() - begun
        summary.added = max(0, self.store.objects.size() - size)
        return summary, deployed

    def pull(self, request: Request, *, workdirs: bool = False) -> Pulled:
        """Fetch the results of a request's tasks from remotes, without building anything."""
        plan, workspace = self.plan(request)
        anywhere = self.anywhere(plan.graph, workspace)
        if not plan.work:  # otherwise planning has queried the remotes
            self._ask_remotes(plan)
            plan = make_plan(plan.graph, plan.own, anywhere, plan.choices)
        pulled = Pulled(notes=self.caches.notes)
        while requests := _requests(plan, anywhere, pulled, workdirs=workdirs):
            for remote in self.caches.remotes:
                if remote.name in requests:
                    pulled.take(self.caches, remote, requests[remote.name], workdirs=workdirs)
            # the fetched results make more hashes known
            plan = make_plan(plan.graph, plan.own, anywhere, plan.choices)
        pulled.failed = pulled.failed or self.caches.incomplete
        here = [step for step in plan.steps.values() if step.output is not None and not step.away]
        pulled.here = len(here) - len(pulled.tasks)
        return pulled

    def _publishing_to(self, plan: Plan) -> list[Remote]:
        """Return the remotes to publish to; none for a build with nothing to do."""
        return [*self.caches.remotes] if plan.work or plan.fetches else []

    def _capture_settings(self) -> str:
        settings = self.project.settings
        lines = [f"exclude {pattern}\n" for pattern in settings.get("exclude", [])]
        return "".join(
            [*lines, *(f"xattr {name}\n" for name in sorted(settings.get("xattrs", [])))]
        )

    def _inputs(self, writer: ObjectWriter) -> InputsReader:
        return InputsReader(
            self.store,
            writer,
            self.toolchains.capture,
            environment=self._let_through(),
            capture=self._capture_settings(),
            allowed=self.project.settings.get("environment", ()),
            own_folders=(self.store.path, self.project.builddir),
        )

    def _let_through(self) -> dict[str, str]:
        return allowed_environment(self.project.settings.get("environment", []), self.environment)

    def _workspace(self, inputs: InputsReader) -> Workspace:
        settings = self.project.settings
        sandbox = bubblewrap(self.sandbox or settings.get("sandbox", "auto"))
        for path in (self.store.cache, self.project.builddir):
            if sandbox is None and ":" in str(path):
                raise BuildError(
                    f"{path}: a path with a colon cannot be in PATH, as tasks without a sandbox"
                    " need",
                    hint='rename the folder, or install bubblewrap and set sandbox = "auto"',
                )
        return Workspace(
            store=self.store,
            inputs=inputs,
            sysroots=self.sysroots(sandbox is not None),
            work=self.project.builddir / "work",
            sandbox=sandbox,
        )

    def _choices(self, request: Request, graph: Graph) -> Choices:
        named = {key.recipe for key in graph.targets}
        force = set()
        for key in request.force:
            full = resolve_targets(self.project, [key])
            for each in full:
                if each not in graph.nodes:
                    raise NameUnknown(
                        f"--force {key}: the targets do not need {each}",
                        hint=nearest(key, graph.nodes) or f"add {each} to the targets",
                    )
            force.update(full)
        force.update(named_tasks(graph, request.trace))
        if request.rebuild:
            force.update(graph.nodes)
        return Choices(
            force=frozenset(force),
            only=frozenset(named) if request.only else frozenset(),
            follow=request.follow,
            incremental=frozenset(named) if request.incremental else frozenset(),
        )

    def _plan(
        self, graph: Graph, own: Mapping[TaskKey, OwnInputs], choices: Choices, workspace: Workspace
    ) -> Plan:
        return make_plan(graph, own, self.anywhere(graph, workspace), choices, self._last())

    def anywhere(self, graph: Graph, workspace: Workspace) -> Anywhere:
        """Return the results recorded in the store or published at remotes."""
        self.caches.confined = workspace.sandbox is not None
        return Anywhere(
            Records(self.store, workspace.place_in(graph), self.caches.accepts), self.caches
        )

    def _last(self) -> Callable[[TaskKey], Kept | None]:
        latest = BuildList.latest_of_tasks(self.store)
        return latest.kept if latest else lambda _key: None

    @staticmethod
    def _check_only(plan: Plan) -> None:
        """Raise BuildError if --only excludes a recipe whose output is needed and not built."""
        only = plan.choices.only
        if not only:
            return
        missing = [step.key for step in plan.work if step.key.recipe not in only]
        if missing:
            asker = next(
                (
                    key
                    for key, node in plan.graph.nodes.items()
                    if missing[-1] in node.edges and _recipe(node) in only
                ),
                "",
            )
            raise BuildError(
                f"--only: {missing[-1]} is not built, and {asker or 'the target'} needs its output",
                hint=f"build without --only, or run `prov build {missing[-1]}` first",
            )

    def _deploy(self, plan: Plan, summary: Summary, workspace: Workspace) -> Deployed:
        from prov.scheduler.deploy import Deployment, TaskOutput

        outputs = {}
        for key, node in plan.graph.nodes.items():
            settled = summary.settled.get(key)
            output = settled.output if settled else plan.steps[key].output
            if node.task.deploy and output is not None:
                tools = plan.own[key].toolchain
                places = make_paths(
                    workspace, self.toolchains, node, plan.graph.chain(key), tools
                ).places()
                outputs[f"{node.arch}/{key.path}"] = TaskOutput(key, output, tools, places)

        def current(key: TaskKey) -> OutputId | None:
            return self._current_output(key, workspace)

        deployment = Deployment(
            self.store, self.deploy_dir, self.toolchains, workspace.sandbox, self._deploys, current
        )
        return deployment.deploy(outputs)

    def _deploys(self, name: str) -> bool:
        """Return whether the current recipes deploy `ARCH/RECIPE/TASK`."""
        arch, name, task = name.split("/")
        if self.project.resolve(name) != name:
            return False
        recipe = self.project.recipe(name)
        own = recipe.tasks.get(task)
        return own is not None and own.deploy and self.project.arch_name(recipe) == arch

    def _current_output(self, key: TaskKey, workspace: Workspace) -> OutputId | None:
        """Return a task's output by its current recipe, or None if it is not built."""
        try:
            graph = make_graph(self.project, [key])
            with self.store.objects.writer() as writer:
                inputs = self._inputs(writer)
                own = {each: inputs.own(node, HashOnly()) for each, node in graph.nodes.items()}
        except ProvError:  # an invalid recipe, or one with a missing dependency, has no output
            return None
        return self._plan(graph, own, Choices(), workspace).steps[key].output


def _requests(
    plan: Plan, anywhere: Anywhere, pulled: Pulled, *, workdirs: bool
) -> dict[str, list[Wanted]]:
    """Return the results to fetch from each remote, without those requested before."""
    requests: dict[str, list[Wanted]] = {}
    for step in plan.steps.values():
        if step.task_hash is None or step.output is None:
            continue
        no_workdir = workdirs and anywhere.last_run(step.key, step.task_hash)[1] is None
        if not step.away and not no_workdir:
            continue
        published = anywhere.published(step.key, step.task_hash)
        if published is None or published in pulled.asked:
            continue
        name, task = published
        if step.away or task.workdir:
            requests.setdefault(name, []).append(Wanted(name, task, step.static_key))
    return requests


def _recipe(node: Node) -> str:
    return node.recipe.name
