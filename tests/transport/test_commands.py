"""Command lines of git transfers, in which git runs no other programs."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from prov.transport.commands import receiving_command, sending_command, transfer_command
from prov.transport.errors import Declined

FORCED = (
    "protocol.allow=never",
    f"core.hooksPath={os.devnull}",
    "core.alternateRefsCommand=true",
    "transfer.fsckObjects=true",
    "http.followRedirects=initial",
)


@pytest.mark.parametrize("verb", ["fetch", "push", "ls-remote"])
def test_settings_come_before_the_verb(verb: str) -> None:
    command = transfer_command(Path("/x.git"), [verb, "--quiet"])
    assert command[-3:] == ["--git-dir=/x.git", verb, "--quiet"]
    for setting in FORCED:
        assert command[command.index(setting) - 1] == "-c"
    assert ("core.bigFileThreshold=16m" in command) == (verb == "fetch")


def test_the_command_that_sends_from_a_folder() -> None:
    assert shlex.split(sending_command())[1:] == ["-c", "core.bigFileThreshold=16m", "upload-pack"]


def test_a_push_into_a_folder_runs_no_hook(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", "--bare", tmp_path], check=True)
    words = shlex.split(receiving_command("m", tmp_path))
    assert words[-1] == "receive-pack"
    assert f"core.hooksPath={os.devnull}" in words
    (tmp_path / "more").write_text('[hook "x"]\n\tcommand = touch ran\n\tevent = pre-receive\n')
    with (tmp_path / "config").open("a") as config:
        config.write("[include]\n\tpath = more\n")
    with pytest.raises(Declined, match=r"sets hook\.x\.command: the hook"):
        receiving_command("m", tmp_path)
