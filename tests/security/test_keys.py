"""A revoked key: prov no longer uses its publications, even if it has fetched them before."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path

import pytest

from tests.cli.story import Project
from tests.remote.keys import Keys, allow

pytestmark = pytest.mark.process


def test_what_an_expired_key_published_is_judged_again(small: Project, tmp_path: Path) -> None:
    keys, cache = Keys(tmp_path / "keys"), tmp_path / "cache"
    small.task("echo 1 > out/x")
    small.prov(
        "remote",
        "add",
        "team",
        str(cache),
        "--push",
        "--trust",
        "any-signed",
        "--key",
        str(keys.allowed),
    )
    small.prov("build", "a:go")
    small.prov("push")
    reader = Project(tmp_path / "reader")
    for name in ("prov.toml", "recipes/a.toml"):
        reader.write(name, (small.root / name).read_text())
    reader.prov("plan", "a:go")  # captures the host tools, which is slow
    end = time.time() + 12
    until = datetime.fromtimestamp(end).strftime("%Y%m%d%H%M%S")
    allow(keys.signers, keys.allowed, options=f'valid-before="{until}" ')
    reader.prov(
        "remote", "add", "team", str(cache), "--trust", "keys", "--signers", str(keys.signers)
    )
    assert "a:go  fetch" in reader.ask("plan", "a:go")
    time.sleep(max(0.0, end - time.time()) + 1)
    done = reader.prov("build", "a:go")
    assert "1 ran" in done.stdout and "is not in the signers file" in done.stderr
