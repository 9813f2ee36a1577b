"""`prov rev-parse`."""

from __future__ import annotations

import pytest

from tests.cli.story import Project

pytestmark = pytest.mark.process


def test_runs_builds_and_outputs_have_git_ids(two: Project) -> None:
    two.prov("label", "good", "latest~1")
    run = two.ask("rev-parse", "a:go").strip()
    tag = two.ask("rev-parse", "--tag", "a:go").strip()
    assert tag == two.tag("a:go")
    assert run == two.git("rev-parse", f"{tag}^{{commit}}").strip()
    assert two.ask("rev-parse", "latest").strip() == two.git("rev-parse", "builds").strip()
    assert two.ask("rev-parse", "good").strip() == two.git("rev-parse", "builds~1").strip()
    output = two.ask("rev-parse", "a:go@output").strip()
    assert two.git("ls-tree", "--name-only", output) == "out\n"


def test_an_earlier_run_has_a_relative_name(two: Project) -> None:
    two.prov("label", "good", "latest~1")
    newest, first = [row["commit"] for row in two.json("log", "a:go")["runs"]]
    for name, commit in {
        "a:go": newest,
        "a:go~0": newest,
        "a:go~1": first,
        "a:go~": first,
        "a:go^": first,
        "a:go@{good}": first,
        "a:go@{latest}~1": first,
        "latest~1/a:go": first,
        f"{two.tag('a:go')}~1": two.git("rev-parse", f"{two.tag('a:go')}~1").strip(),
    }.items():
        assert two.ask("rev-parse", name).strip() == commit, name
    assert two.ask("diff", "a:go~1@output", "a:go@{latest}@output") == "M out/x\n"
    assert two.ask("show", "a:go~1") == two.ask("show", "a:go@{good}")
    assert two.ask("why", "a:go~1").startswith("a:go ran")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a:go~2", "a:go~2: 1 run of a:go before "),
        ("a:go@{good}~1", "no build is named good"),
        ("a:og~1", "no run of a:og is recorded hint: did you mean a:go?"),
        ("nothing", "'nothing' not found in the store"),
    ],
)
def test_unknown_name_is_rejected(two: Project, name: str, message: str) -> None:
    assert message in two.refused("rev-parse", name)
