"""Build small projects in this process, in a fraction of a second."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from prov.recipes.project import Project
from prov.records.build_list import BuildList
from prov.scheduler.session import Request, Session
from prov.scheduler.summary import RunOptions, Summary
from prov.store.repository import Store
from prov.sysroot.compose import sysroots_of
from prov.tasks.job import Result

HOSTTOOLS = "sh cat cp ls mkdir date sleep grep"
Texts = Mapping[str, str]
"""Path below the project -> content."""


@dataclass
class Watcher:
    """Receives the progress of a build."""

    ran: list[str] = field(default_factory=list)

    def planned(self, total: int) -> None: ...

    def started(self, key: str, place: str) -> None: ...

    def finished(self, key: str, what: str, done: int, total: int, result: Result | None) -> None:
        if what == "ran":
            self.ran.append(key)

    def note(self, text: str) -> None: ...


@dataclass(frozen=True)
class Tiny:
    """A project with the recipes of a test."""

    root: Path
    sandbox: str = "none"

    @property
    def store(self) -> Store:
        return Store.create(self.root / ".prov")

    def write(self, texts: Texts) -> None:
        """Replace the content of the recipes' folder by these files."""
        wanted = {
            self.root
            / "prov.toml": f'sandbox = "{self.sandbox}"\n[variables]\nHOSTTOOLS = "{HOSTTOOLS}"\n'
        }
        wanted |= {self.root / "recipes" / name: text for name, text in texts.items()}
        for path in set(self._files()) - wanted.keys():
            path.unlink()
        for path, text in wanted.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists() or path.read_text() != text:
                path.write_text(text)

    def _files(self) -> Iterator[Path]:
        return (path for path in self.root.glob("recipes/**/*") if path.is_file())

    def session(self) -> Session:
        store = self.store
        return Session(
            Project.load(self.root, memory=store.cache / "parsed"),
            store,
            partial(sysroots_of, store),
            {"PATH": os.environ["PATH"]},
        )

    def build(
        self,
        texts: Texts,
        *targets: str,
        ok: bool = True,
        force: tuple[str, ...] = (),
        trace: tuple[str, ...] = (),
    ) -> Summary:
        """Build with these recipes."""
        self.write(texts)
        request = Request(targets, force=force, trace=trace)
        summary, _ = self.session().build(request, Watcher(), RunOptions(jobs=2))
        assert summary.ok is ok, summary.failed
        return summary

    def latest(self) -> BuildList:
        build = BuildList.latest(self.store)
        assert build is not None
        return build
