"""The jobs of continuous integration that docs/wrapping.md shows record and share a build."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.cli.story import Project
from tests.commands import PROV
from tests.docs.page import TOP, parse

pytestmark = pytest.mark.process
MAKEFILE = (
    "hello:\n\techo 1 >hello\ninstall: hello\n\tmkdir -p $(DESTDIR)\n\tcp hello $(DESTDIR)/\n"
)


def snippet(word: str) -> str:
    """Return the YAML block of the page that contains a word."""
    page = (TOP / "docs/wrapping.md").read_text()
    (text,) = [
        block.text for block in parse(page) if block.language == "yaml" and word in block.text
    ]
    return text


def run_steps(project: Project, commands: list[str], variables: Mapping[str, str]) -> str:
    """Run each command in a shell of its own, as a runner does; return the output."""
    folder = project.root.parent
    environment_file = folder / "environment"
    environment_file.touch()
    output = ""
    for command in commands:
        lines = environment_file.read_text().splitlines()
        later = dict(line.split("=", 1) for line in lines)
        done = subprocess.run(
            ["sh", "-e", "-c", command],
            cwd=project.root,
            env={
                "PATH": f"{Path(PROV).parent}:/usr/bin:/bin",
                "HOME": str(folder),
                "GITHUB_ENV": str(environment_file),
                **variables,
                **later,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        output += done.stdout + done.stderr
        assert done.returncode == 0, f"{command}: {output}"
    return output


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A clone with a Makefile, as a job has it."""
    project = Project(tmp_path / "clone")
    project.write("Makefile", MAKEFILE)
    subprocess.run(["git", "init", "-q", project.root], check=True)
    return project


def check(project: Project, output: str, label: str) -> None:
    """Check that the steps formed one build, and that its output was published."""
    (build,) = project.json("builds")["builds"]
    assert label in build["labels"]
    assert "2 results published" in output
    assert project.ask("diff", f"{label}/hello:install") == "A image/hello\n"
    page = (TOP / "docs/wrapping.md").read_text()
    (block,) = [block.text for block in parse(page) if "prov pull" in block.text]
    other = Project(project.root.parent / "other")
    other.root.mkdir()
    run_steps(other, block.replace("URL", str(project.root.parent / "cache")).splitlines(), {})
    assert (other.root / "image/image/hello").read_text() == "1\n"


def test_the_github_job(project: Project, tmp_path: Path) -> None:
    text = snippet("GITHUB_RUN_ID")
    commands = re.findall(r"^ +- run: (.+)$", text, re.MULTILINE)
    assert len(commands) == 5
    variables = {"GITHUB_RUN_ID": "4711", "PROV_CACHE": str(tmp_path / "cache")}
    check(project, run_steps(project, commands, variables), "ci-4711")


def test_the_gitlab_job(project: Project, tmp_path: Path) -> None:
    text = snippet("CI_PIPELINE_ID")
    commands = re.findall(r"^ +- (prov .+)$", text, re.MULTILINE)
    assert len(commands) == 4
    (label,) = re.findall(r"PROV_BUILD: (\S+)$", text, re.MULTILINE)
    variables = {
        "PROV_BUILD": label.replace("$CI_PIPELINE_ID", "4711"),  # as the runner does
        "PROV_CACHE": str(tmp_path / "cache"),
    }
    check(project, run_steps(project, commands, variables), "ci-4711")
