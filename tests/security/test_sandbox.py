"""A program in the sandbox can access only what its task declares."""

from __future__ import annotations

import json
import os
import shutil
import socket
from pathlib import Path

import pytest

from tests.cli.story import Project

pytestmark = pytest.mark.process

RECIPE = """version = "1"
[tasks.go]
outputdir = "out"
interpreter = "python3"
network = {network}
script = '''
import json, os, socket

def reach(kind, address):
    try:
        with socket.socket(kind) as stream:
            stream.settimeout(5)
            stream.connect(address)
        return "reached"
    except OSError as error:
        return type(error).__name__

def write(path):
    try:
        open(path, "w").close()
        return "written"
    except OSError as error:
        return type(error).__name__

status = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
found = {{
    "abstract": reach(socket.AF_UNIX, "\\0" + {abstract!r}),
    "file": reach(socket.AF_UNIX, {path!r}),
    "loopback": reach(socket.AF_INET, ("127.0.0.1", {port})),
    "privileges": status["NoNewPrivs"].strip(),
    "capabilities": int(status["CapEff"], 16),
    "processes": sum(name.isdigit() for name in os.listdir("/proc")),
    "home": os.path.exists({home!r}),
    "run": os.path.exists("/run"),
    "usr": write("/usr/x"),
    "tools": write(os.environ["PATH"].split(":")[0] + "/x"),
}}
with open("out/found", "w") as stream:
    json.dump(found, stream)
'''
"""


@pytest.mark.parametrize("network", [False, True])
def test_what_a_task_reaches(network: bool, small: Project, tmp_path: Path) -> None:
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")
    small.edit("prov.toml", 'sandbox = "none"', 'sandbox = "bwrap"')
    name, path = f"prov-test-{os.getpid()}", str(tmp_path / "socket")
    with (
        socket.socket(socket.AF_UNIX) as abstract,
        socket.socket(socket.AF_UNIX) as file,
        socket.socket() as loopback,
    ):
        abstract.bind("\0" + name)
        file.bind(path)
        loopback.bind(("127.0.0.1", 0))
        for each in (abstract, file, loopback):
            each.listen()
        recipe = RECIPE.format(
            network=str(network).lower(),
            abstract=name,
            path=path,
            port=loopback.getsockname()[1],
            home=str(small.root),
        )
        small.write("recipes/a.toml", recipe)
        small.prov("build", "a:go")
    small.prov("checkout", "a:go@output", str(tmp_path / "output"))
    found = json.loads((tmp_path / "output/out/found").read_text())
    assert found["file"] == "FileNotFoundError" and not found["home"] and not found["run"]
    assert found["privileges"] == "1" and found["capabilities"] == 0
    assert found["processes"] < 5
    assert "written" not in (found["usr"], found["tools"])
    # a task with network access also has the host's abstract sockets: see docs/security.md
    reached = "reached" if network else "ConnectionRefusedError"
    assert found["abstract"] == reached
    assert (found["loopback"] == "reached") == network
