"""Tests of plan hooks: their input and their answers."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import pytest

from prov.errors import BuildError
from prov.recipes.graph import Graph
from prov.records.ids import OutputId, StaticKey, TaskHash
from prov.records.keys import TaskKey
from prov.scheduler.hooks import GROUP, invalidated, plan_table
from prov.scheduler.plan import Action, Choices, Plan, Step
from tests.schema.check import read_answer

STEPS = {
    key: Step(
        key,
        Action.UP_TO_DATE,
        "",
        static_key=StaticKey(b"\1" * 20),
        task_hash=TaskHash(b"\2" * 20),
        output=OutputId(b"\3" * 20),
    )
    for key in (TaskKey("app:compile"), TaskKey("app:install"))
}
PLAN = Plan(Graph({}, (TaskKey("app:install"),)), {}, Choices(), STEPS)
WORKDIRS = {key: Path("/builds", key) for key in STEPS}


def hook(folder: Path, script: str) -> Path:
    path = folder / "hook"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def ask(folder: Path, answer: str) -> frozenset[str]:
    script = hook(folder, f"cat > {folder}/plan.json\nprintf '%s' '{answer}'")
    return invalidated(PLAN, WORKDIRS, [script], dry=False)


def test_without_hooks_nothing_is_invalidated() -> None:
    assert invalidated(PLAN, {}, [], dry=False) == frozenset()


@pytest.mark.parametrize(
    ("answer", "keys"),
    [
        ("", ""),
        ("{}", ""),
        ("[]", ""),
        ('{"invalidate": []}', ""),
        ('{"invalidate": ["app:compile"]}', "app:compile"),
        ('["app:compile", "app:install", "app:compile"]', "app:compile app:install"),
        ('{"invalidate": ["app:install"], "note": 1}', "app:install"),
    ],
)
def test_an_answer(tmp_path: Path, answer: str, keys: str) -> None:
    assert ask(tmp_path, answer) == frozenset(keys.split())


@pytest.mark.parametrize(
    ("answer", "message", "hint"),
    [
        ("done", "its output is not JSON", "recipe:task"),
        ("3", "invalid output: Expected `array`, got `int`", "recipe:task"),
        ("null", "invalid output: Expected `array`, got `null`", "recipe:task"),
        ('{"invalidate": "app:compile"}', "invalid output: Expected `array`", "recipe:task"),
        ('{"invalidate": [3]}', "invalid output: Expected `str`, got `int`", "recipe:task"),
        ('{"\\udc00": 1}', "invalid output", "recipe:task"),
        ('["app:compil"]', "cannot invalidate 'app:compil': it is not in the plan", "app:compile?"),
    ],
)
def test_an_invalid_answer_names_the_hook(
    tmp_path: Path, answer: str, message: str, hint: str
) -> None:
    with pytest.raises(BuildError) as raised:
        ask(tmp_path, answer)
    assert str(raised.value).startswith(f"plan hook {tmp_path}/hook: ")
    assert message in str(raised.value)
    assert hint in raised.value.hint


def test_a_failing_hook_is_named(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="hook: exit status 3"):
        invalidated(PLAN, WORKDIRS, [hook(tmp_path, "exit 3")], dry=False)
    with pytest.raises(BuildError, match="missing: cannot run it: No such file"):
        invalidated(PLAN, WORKDIRS, [tmp_path / "missing"], dry=False)


def test_a_hook_sees_every_step(tmp_path: Path) -> None:
    ask(tmp_path, "[]")
    table = read_answer((tmp_path / "plan.json").read_text())
    head = {"schema": 1, "kind": "plan", "dry_run": False}
    assert table == head | plan_table(PLAN, WORKDIRS, every=True)
    assert table["steps"][0] == {
        "task": "app:compile",
        "action": "up to date",
        "reason": "",
        "task_hash": "02" * 20,
        "static_key": "01" * 20,
        "output": "03" * 20,
        "workdir": "/builds/app:compile",
    }


def install(folder: Path, suffix: str = ".dist-info", group: str = GROUP) -> None:
    """Install a package with a hook that invalidates app:compile."""
    folder.mkdir(exist_ok=True)
    (folder / "hooking.py").write_text("def hook(plan): return ['app:compile']\n")
    package = folder / f"hooking-1{suffix}"
    package.mkdir(parents=True)
    (package / "entry_points.txt").write_text(f"[{group}]\nmine = hooking:hook\n")
    name = "METADATA" if suffix == ".dist-info" else "PKG-INFO"
    (package / name).write_text("Metadata-Version: 2.1\nName: hooking\nVersion: 1\n")


@pytest.mark.parametrize("suffix", [".dist-info", ".egg-info"])
def test_an_installed_package_is_a_hook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    install(tmp_path, suffix)
    monkeypatch.syspath_prepend(tmp_path)
    assert invalidated(PLAN, WORKDIRS, [], dry=False) == {"app:compile"}


def test_packages_without_hooks_are_not_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, group="console_scripts")
    monkeypatch.setattr(sys, "path", [str(tmp_path), str(tmp_path / "missing")])
    monkeypatch.setitem(sys.modules, "importlib.metadata", None)  # an import would fail
    assert invalidated(PLAN, WORKDIRS, [], dry=False) == frozenset()


def test_an_archive_can_have_hooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "content")
    archive = tmp_path / "packages.zip"
    with zipfile.ZipFile(archive, "w") as stream:
        for path in (tmp_path / "content").rglob("*"):
            stream.write(path, path.relative_to(tmp_path / "content"))
    monkeypatch.syspath_prepend(archive)
    assert invalidated(PLAN, WORKDIRS, [], dry=False) == {"app:compile"}
