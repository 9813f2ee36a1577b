"""The site's pages: links, public names, and the example on the API page."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest
from prov_cli.commands import COMMANDS

from prov.records.build_list import Line, record_build
from prov.records.ids import OutputId, TaskHash
from prov.records.keys import TaskKey
from prov.store.objects import CONSTANT_IDENTITY
from prov.store.repository import Store
from tests.manual.shared import DOCS

from .pages import BrokenLink, public_names, resolved, write_pages


@pytest.mark.parametrize(
    ("source", "text", "page"),
    [
        ("README.md", "[tour](docs/tour.md)", "[tour](tour.md)"),
        ("README.md", "[why](docs/adr)", "[why](adr/index.md)"),
        ("README.md", "[changes](CHANGELOG.md)", "[changes](changelog.md)"),
        ("README.md", "[fixtures/demo](fixtures/demo)", "`fixtures/demo`"),
        ("CONTRIBUTING.md", "[license](LICENSE)", "license (`LICENSE`)"),
        ("docs/tour.md", "[gc](store.md#refs)", "[gc](store.md#refs)"),
        ("docs/tour.md", "[log](../CHANGELOG.md)", "[log](changelog.md)"),
        ("docs/adr/0002-own-packs.md", "[store](../store.md)", "[store](../store.md)"),
        ("docs/tour.md", "[git](https://git-scm.com) [up](#top)", None),
    ],
)
def test_links_lead_to_pages(source: str, text: str, page: str | None) -> None:
    assert resolved(text, source) == (page or text)


def test_a_broken_link_is_an_error() -> None:
    with pytest.raises(BrokenLink, match=r"docs/tour\.md: nowhere\.md"):
        resolved("[x](nowhere.md)", "docs/tour.md")


def test_every_command_has_a_page(tmp_path: Path) -> None:
    write_pages(tmp_path / "pages")
    for name in COMMANDS:
        assert f"# prov {name}" in (tmp_path / "pages/commands" / f"prov-{name}.md").read_text()
    assert "## prov remote add" in (tmp_path / "pages/commands/prov-remote.md").read_text()


def test_public_names_exist() -> None:
    modules = public_names((DOCS / "api.md").read_text())
    assert "Store" in modules["prov.store.repository"]
    for module, names in modules.items():
        for name, members in names.items():
            public = getattr(import_module(module), name)
            assert public.__doc__, f"{module}.{name}"
            assert public.__module__ == module
            assert [member for member in members if not hasattr(public, member)] == []


def test_the_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store.create(tmp_path / ".prov")
    task = Line(TaskKey("zlib:compile"), TaskHash(bytes(20)), OutputId(bytes(20)), 1)
    build = record_build(store, [task], {}, {"result": "ok"}, CONSTANT_IDENTITY)
    monkeypatch.chdir(tmp_path)
    program = re.findall(r"```python\n(.*?)```", (DOCS / "api.md").read_text(), re.DOTALL)
    exec(compile(program[0], "docs/api.md", "exec"), {})
    assert capsys.readouterr().out == f"{build.hex()[:12]} ok\n  zlib 1\n"


NOT_COMMANDS = {("remotes.md", "publication")}
"""The first line of a publication is `prov publication 1`."""


def test_pages_name_commands_that_exist() -> None:
    pages = [*DOCS.glob("*.md"), DOCS.parent / "README.md", DOCS.parent / "CONTRIBUTING.md"]
    named = {
        (page.name, name)
        for page in pages
        for name in re.findall(
            r"(?:`|^\$ )(?:git )?prov ([a-z][a-z-]*)", page.read_text(), re.MULTILINE
        )
    }
    assert {(page, name) for page, name in named - NOT_COMMANDS if name not in COMMANDS} == set()
