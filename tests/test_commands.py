"""A command that runs in a fork is the command that its script runs."""

from __future__ import annotations

import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.cli.story import Project
from tests.commands import PROV, run_prov, run_prov_bytes, zygote_variables

pytestmark = pytest.mark.process

RUN = ("run", "--as", "a:go", "--")
PARENT = "stat=$(cat /proc/$PPID/stat); set -- ${stat##*) }; tr '\\0' ' ' < /proc/$2/cmdline"
"""A shell script that prints the command line of prov's parent."""


@pytest.mark.parametrize(
    "words",
    [["--version"], ["run", "--help"], ["no-such-command"], ["log"], ["show", "a:go"]],
    ids=" ".join,
)
def test_status_and_outputs_are_those_of_the_script(small: Project, words: list[str]) -> None:
    script = subprocess.run([PROV, *words], cwd=small.root, capture_output=True)
    fork = run_prov_bytes(*words, cwd=small.root)
    assert (fork.returncode, fork.stdout) == (script.returncode, script.stdout)
    assert fork.stderr == script.stderr


def test_a_fork_has_the_callers_folder_input_umask_and_environment(small: Project) -> None:
    script = 'pwd; umask; cat; echo "$COLOUR"'
    before = os.umask(0o027)
    try:
        done = run_prov(
            *RUN,
            *("sh", "-c", script),
            cwd=small.write("below/file", "").parent,
            environment={**os.environ, "PROV_STORE": str(small.root / ".prov"), "COLOUR": "red"},
            stdin="typed\n",
        )
    finally:
        os.umask(before)
    assert done.stdout.splitlines() == [str(small.root / "below"), "0027", "typed", "red"]


def test_a_variable_that_python_reads_at_its_start_is_not_too_late(small: Project) -> None:
    """The script runs, since a fork has already started."""
    parents = [
        run_prov(*RUN, "sh", "-c", PARENT, cwd=small.root, environment=environment).stdout
        for environment in (os.environ, os.environ | {"PYTHONUTF8": "1"})
    ]
    assert ["zygote.py" in parent for parent in parents] == [True, False]
    assert "PYTHONUTF8" not in zygote_variables()


def test_a_signal_is_a_negative_status(small: Project) -> None:
    done = run_prov(*RUN, "sh", "-c", "kill -KILL $PPID", cwd=small.root)
    assert done.returncode == -signal.SIGKILL
    assert run_prov("--version").returncode == 0


def test_commands_run_at_the_same_time(small: Project, tmp_path: Path) -> None:
    """Each waits for the other's file."""
    script = "touch $1; while [ ! -e $2 ]; do sleep 0.01; done"
    ends = [tmp_path / "one", tmp_path / "two"]
    with ThreadPoolExecutor(2) as pool:
        calls = [
            pool.submit(
                run_prov,
                *("run", "--as", f"{own.name}:go", "--store", str(tmp_path / f"{own.name}.git")),
                *("--", "sh", "-c", script, "sh", str(own), str(other)),
                cwd=small.write(f"{own.name}/file", "").parent,
            )
            for own, other in (ends, ends[::-1])
        ]
    assert [call.result().returncode for call in calls] == [0, 0]


def test_output_larger_than_a_pipe_is_complete(small: Project) -> None:
    script = "head -c 1000000 /dev/zero | tr '\\0' x"
    assert run_prov(*RUN, "sh", "-c", script, cwd=small.root).stdout == "x" * 1_000_000
