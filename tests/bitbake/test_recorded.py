"""Recorded requests are replayed to the writer without BitBake; prov's commands read the store."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from prov.bitbake.capture import BuildTask, workdir_lock
from prov.store.repository import Store
from tests.bitbake.recorded import Line, Replayed, read
from tests.bitbake.story import TASKS
from tests.cli.story import in_order
from tests.sbom.spdx_files import load, sources_of

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Three replayed builds, with the writer's messages in each."""
    root = tmp_path_factory.mktemp("recorded") / "build"
    words = {}
    for build in ("first", "changed", "failing"):
        words[build] = Replayed(root).replay(build)
    yield {"root": root, **words}
    shutil.rmtree(root)


@pytest.fixture
def story(once: dict[str, Any]) -> Replayed:
    """A build directory after the three builds. Tests must not change it."""
    return Replayed(once["root"])


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Replayed]:
    replayed = Replayed(tmp_path / "build")
    yield replayed
    replayed.stop()


def test_nothing_is_lost(once: dict[str, Any], story: Replayed) -> None:
    builds = [each["id"] for each in story.json("builds")["builds"]]
    assert [once[build] for build in ("failing", "changed", "first")] == [
        [{"recorded": build}] for build in builds
    ]


def test_builds_list_what_ran(story: Replayed) -> None:
    failing, changed, first = [each["facts"] for each in story.json("builds")["builds"]]
    wanted = ("result", "ran", "up-to-date", "failed", "restored", "targets", "builder")
    assert [first[name] for name in wanted] == [
        "ok",
        "19",
        "0",
        "0",
        "0",
        "app:do_build",
        "bitbake",
    ]
    assert [changed[name] for name in wanted[:4]] == ["ok", "10", "9", "0"]
    assert [failing[name] for name in wanted[:4]] == ["failed", "0", "16", "1"]


def test_all_tasks_are_recorded(story: Replayed) -> None:
    assert story.recorded() == TASKS
    assert len(story.tags()) == 19 + 10 + 1


def test_changes_are_listed_by_task(story: Replayed) -> None:
    assert story.changes("words:do_unpack") == {"D words-1.0/sorted.txt", "M words-1.0/words.txt"}
    assert story.changes("words:do_compile") == {"A words-1.0/sorted.txt"}
    assert story.changes("app:do_install") == {"M image/app"}
    assert story.ask("diff", "app:do_stage") == ""


def test_overlapping_task_has_its_own_changes(story: Replayed) -> None:
    assert story.changes("app:do_notes") == {"A notes/1", "A notes/2", "A notes/3"}
    beside = {f"app:do_{task}" for task in ("configure", "compile", "install", "stage")}
    assert set(story.facts("app:do_notes")["beside"].split()) == beside
    first = [
        tag for task in ("compile", "install", "stage") for tag in story.tags(f"app/do_{task}")
    ]
    first = [
        tag for tag in first if story.json("show", tag)["facts"].get("beside") == "app:do_notes"
    ]
    assert len(first) == 3
    assert not any(
        "notes" in story.git("ls-tree", "--name-only", f"refs/tags/{tag}") for tag in first
    )


def test_why_finds_a_variable_and_a_file(story: Replayed) -> None:
    assert story.causes("app:do_install") == {
        "app:do_compile": {("variable", "GREETING")},
        "words:do_fetch": {("source", "words.txt")},
    }
    in_order(story.ask("why", "app:do_install"), "variable GREETING", "-hello", "+goodbye")


def test_two_builds_have_two_causes(story: Replayed) -> None:
    answer = story.json("diff", "latest~2", "latest~1")
    assert {(each["kind"], each["name"]) for each in answer["causes"]} == {
        ("variable", "GREETING"),
        ("source", "words.txt"),
    }


def test_a_bill_of_a_task_lists_its_files_and_sources(story: Replayed) -> None:
    document = story.ask("sbom", "latest~2/app:do_stage").encode()
    assert load(document).missing_ids == set()
    assert sources_of(document) == {"image/app": {"app-0.1/app.txt"}}
    message = "incomplete outside the sysroots: ran at the same time as app:do_notes"
    assert message in document.decode()
    assert "has no output of its targets" in story.refused("sbom")


def test_log_and_script_are_recorded(story: Replayed) -> None:
    log = story.json("show", "words:do_compile")["log"]
    in_order(
        log,
        "DEBUG: Executing shell function do_compile",
        "DEBUG: Shell function do_compile finished",
    )
    tag = story.tag("words:do_compile")
    assert "sort words.txt > sorted.txt" in story.git("show", f"refs/tags/{tag}^2:script")


def test_failed_task_is_recorded_with_its_files(story: Replayed) -> None:
    (tag,) = (tag for tag in story.tags() if "failed" in tag)
    assert tag.startswith("failed/app/do_compile/")
    assert story.git("show", f"refs/tags/{tag}:app-0.1/app") == "half\n"
    assert "no such luck" in story.git("show", f"refs/tags/{tag}^2:log")


def test_outputs_are_what_tasks_share(story: Replayed) -> None:
    rows = story.git("for-each-ref", "--format=%(refname)", "refs/prov/output").split()
    assert {":".join(row.split("/")[3:5]) for row in rows} == {
        f"{name}:do_stage" for name in ("app", "tool", "words")
    }
    assert story.json("show", "tool:do_stage")["output_paths"] == ["image"]


def test_blame_names_the_task(story: Replayed) -> None:
    assert "words:do_compile" in story.ask("blame", "words:do_stage@output/image/share/words")


def test_store_is_whole(story: Replayed) -> None:
    story.is_clean()
    assert not [
        name
        for name in story.traces()
        if name.startswith(".prov.sock.") and not name.endswith(".lock")
    ]


# builds with problems

REFUSED = ("failed", "outside", "a b", "ü", "a.lock", "..", "a/b", "\udcff", "a\n")
TAKEN = ("gtk+3", "-x")


def lines(story: Replayed, build: str = "first") -> list[Line]:
    return list(read(build, str(story.root)))


def of(sent: list[Line], recipe: str, *tasks: str) -> list[Line]:
    """Return the requests of tasks of one recipe."""
    requests = [line for line in sent if "asked" in line]
    return [
        line
        for line in requests
        if line["asked"]["pn"] == recipe and line["asked"]["task"] in tasks
    ]


def test_second_run_of_a_hash_gets_the_next_number(fresh: Replayed) -> None:
    fresh.replay("first")
    fresh.replay("first")
    assert len(fresh.tags()) == 2 * 19
    assert len([tag for tag in fresh.tags() if tag.endswith("/2")]) == 19
    assert fresh.newest()["ran"] == "19"
    fresh.is_clean()


def test_build_whose_server_exited_is_interrupted(fresh: Replayed) -> None:
    fresh.begin()
    for line in of(lines(fresh), "words", "do_fetch", "do_unpack"):
        fresh.say(line)
    assert [*fresh.end()[0]] == ["recorded"]
    facts = fresh.newest()
    assert (facts["result"], facts["ran"], facts["targets"]) == ("interrupted", "2", "")
    assert fresh.recorded() == {"words:do_fetch", "words:do_unpack"}


def test_truncated_last_line_is_ignored(fresh: Replayed) -> None:
    fresh.begin()
    for line in of(lines(fresh), "words", "do_fetch"):
        fresh.say(line)
    assert fresh.process and fresh.process.stdin
    fresh.process.stdin.write(b'{"what": "done", "resu')
    fresh.end()
    assert fresh.newest()["result"] == "interrupted"


def test_build_without_tasks_is_not_recorded(fresh: Replayed) -> None:
    fresh.begin()
    assert fresh.end(lines(fresh)[-1]) == [{"recorded": ""}]
    assert fresh.builds() == 0


def test_tasks_without_a_report_are_listed(fresh: Replayed) -> None:
    fresh.begin()
    sent = lines(fresh)
    for line in sent[:-1]:
        if line["asked"]["pn"] != "tool":
            fresh.say(line)
    *lost, recorded = fresh.end(sent[-1])
    assert {word["lost"] for word in lost} == {task for task in TASKS if task.startswith("tool:")}
    assert {word["why"] for word in lost} == {"the task's process sent no report"}
    assert recorded["recorded"]
    assert (fresh.newest()["ran"], fresh.newest()["result"]) == ("13", "ok")


def test_writer_works_although_sigchld_was_ignored(fresh: Replayed) -> None:
    """An ignored SIGCHLD is inherited, and makes it impossible to wait for children."""
    fresh.begin("env", "--ignore-signal=CHLD")
    sent = lines(fresh)
    for line in sent[:-1]:
        assert fresh.say(line) == {}
    assert fresh.end(sent[-1])[-1]["recorded"]
    assert fresh.recorded() == TASKS


def test_task_that_reports_a_loss_is_listed_with_its_reason(fresh: Replayed) -> None:
    fresh.begin()
    sent = lines(fresh)
    for line in sent[:-1]:
        lost = (
            line["asked"]["what"] == "end"
            and line["asked"]["pn"] == "tool"
            and line["asked"]["task"] == "do_stage"
        )
        asked = line["asked"] | ({"what": "lost", "why": "no room"} if lost else {})
        assert fresh.say(line | {"asked": asked}) == {}
    *words, recorded = fresh.end(sent[-1])
    assert words == [{"lost": "tool:do_stage", "why": "no room"}]
    assert recorded["recorded"]


def test_end_without_a_begin_is_recorded(fresh: Replayed) -> None:
    """As after a restart of the writer."""
    fresh.begin()
    for line in lines(fresh)[:-1]:
        if line["asked"]["what"] == "end":
            assert fresh.say(line) == {}
    fresh.end()
    assert fresh.recorded() == TASKS


def test_killed_writer_is_replaced(fresh: Replayed) -> None:
    sent = lines(fresh)
    fresh.begin()
    for line in sent[:10]:
        fresh.say(line)
    assert fresh.process
    fresh.process.send_signal(signal.SIGKILL)
    fresh.stop()
    fresh.begin()
    for line in sent[10:-1]:
        fresh.say(line)
    assert not [word for word in fresh.end(sent[-1]) if "lost" in word]
    assert fresh.recorded() == TASKS
    assert int(fresh.newest()["ran"]) == len(TASKS)  # those of the first writer among them
    fresh.is_clean()


def test_second_writer_at_one_path_exits(fresh: Replayed) -> None:
    fresh.begin()
    said = fresh.refused("bitbake", "writer", ".prov", ".prov.sock")
    assert "another writer is already running" in said
    assert fresh.socket.exists()
    line = of(lines(fresh), "words", "do_fetch")[0]
    assert fresh.say(line) == {}
    fresh.end()


def test_change_by_hand_is_a_separate_commit(fresh: Replayed) -> None:
    sent = lines(fresh)
    fresh.begin()
    for line in of(sent, "words", "do_fetch", "do_unpack"):
        fresh.say(line)
    fresh.write("tmp/work/small-machine/words/1.0/words-1.0/words.txt", "by hand\n")
    for line in of(sent, "words", "do_configure"):
        fresh.say(line)
    fresh.end()
    (tag,) = fresh.tags("outside")
    assert re.fullmatch(r"outside/small-machine/words/1\.0-[0-9a-f]{8}/1", tag)
    assert fresh.git("show", f"refs/tags/{tag}:words-1.0/words.txt") == "by hand\n"


def test_task_that_begins_waits_for_a_capture_of_its_workdir(fresh: Replayed) -> None:
    """This includes a task that overlaps others, for which no capture is made."""
    sent = lines(fresh)
    fresh.begin()
    for line in of(sent, "app", "do_fetch", "do_unpack"):
        fresh.say(line)
    configure, notes = (of(sent, "app", task)[0] for task in ("do_configure", "do_notes"))
    store = Store.open(fresh.root / ".prov")
    with ThreadPoolExecutor() as threads:
        with workdir_lock(store, BuildTask.of(configure["asked"]).workdir):
            first = threads.submit(fresh.say, configure)
            time.sleep(0.2)
            second = threads.submit(fresh.say, notes)
            time.sleep(0.5)
            assert not first.done() and not second.done()
            line = of(sent, "words", "do_fetch")[0]
            assert fresh.say(line) == {}
        assert first.result(30) == second.result(30) == {}
    fresh.end()


def test_only_the_task_with_an_unreadable_signature_is_lost(fresh: Replayed) -> None:
    sent = of(lines(fresh), "words", "do_fetch", "do_unpack")
    sent[1] = sent[1] | {"signature": []}
    fresh.begin()
    answers = [fresh.say(line) for line in sent]
    assert ["error" in answer for answer in answers] == [False, True, False, False]
    word = fresh.word()
    assert word["lost"] == "words:do_fetch" and "invalid signature data" in word["why"]
    fresh.end()
    assert fresh.recorded() == {"words:do_unpack"}
    assert (fresh.newest()["ran"], fresh.newest()["failed"]) == ("1", "0")


def test_recipes_with_odd_names_do_not_affect_others(fresh: Replayed) -> None:
    sent = lines(fresh)
    executed = [["", name, "do_fetch", "0" * 64, "0" * 64] for name in (*REFUSED, *TAKEN)]
    for _ in range(2):
        fresh.begin()
        for name in (*REFUSED, *TAKEN):
            for line in of(sent, "words", "do_fetch"):
                fresh.say(line | {"asked": line["asked"] | {"pn": name}})
        for line in of(sent, "words", "do_unpack"):
            assert fresh.say(line) == {}
        *lost, recorded = fresh.end(
            {"server": sent[-1]["server"] | {"executed": executed, "skipped": executed}}
        )
        assert recorded["recorded"]
        assert {word["lost"] for word in lost} == {f"{name}:do_fetch" for name in REFUSED}
    assert fresh.recorded() == {"words:do_unpack", *(f"{name}:do_fetch" for name in TAKEN)}
    assert fresh.ask("diff", "latest")
    fresh.is_clean()


# malformed data at the socket


def knock(story: Replayed) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(30)
    folder = os.open(story.root, os.O_RDONLY)
    connection.connect(f"/proc/self/fd/{folder}/.prov.sock")
    os.close(folder)
    return connection


MALFORMED: dict[str, bytes] = {
    "garbage": os.urandom(500).replace(b"\n", b"") + b"\n",
    "no JSON": b"hello\n",
    "a list": b"[]\n",
    "a number": b"1\n",
    "an empty object": b"{}\n",
    "an empty line": b"\n",
    "nested": b"[" * 100_000 + b"\n",
    "a header without an end": b"x" * (1 << 21),
    "names of other kinds": (
        b'{"mc": 1, "pn": [], "pv": {}, "task": null, "workdir": 3, "arch": 1, "owned": 1}\n'
    ),
}


def is_at_work(story: Replayed) -> None:
    """Assert that a task is recorded and that the build ends."""
    for line in of(lines(story), "words", "do_configure"):
        assert story.say(line) == {}
    words = story.end()
    assert words[-1]["recorded"]
    assert story.recorded() == {"words:do_configure"}


def test_malformed_requests_are_answered_and_ignored(fresh: Replayed) -> None:
    fresh.begin()
    for data in MALFORMED.values():
        with knock(fresh) as connection:
            try:
                connection.sendall(data)
                assert b"error" in connection.recv(1 << 16)
            except (BrokenPipeError, ConnectionResetError):  # closed before all was read
                assert len(data) > 1 << 20
    is_at_work(fresh)


def test_requests_that_lack_a_field_are_rejected(fresh: Replayed) -> None:
    begin = of(lines(fresh), "words", "do_fetch")[0]["asked"]
    asked = [
        begin | {"what": "end", "body": 0} | {name: None}
        for name in ("what", "mc", "workdir", "body", "owned")
    ]
    asked += [{name: value for name, value in each.items() if value is not None} for each in asked]
    asked += [begin | {"what": "other"}, begin | {"what": 7}, begin | {"what": "end", "log": None}]
    fresh.begin()
    for each in asked:
        with knock(fresh) as connection:
            connection.sendall(json.dumps(each).encode() + b"\n")
            assert b"error" in connection.recv(1 << 16), each
    is_at_work(fresh)


def test_task_with_an_incomplete_report_is_lost(fresh: Replayed) -> None:
    fresh.begin()
    line = of(lines(fresh), "words", "do_unpack")[1]
    asked = {name: value for name, value in line["asked"].items() if name != "log"}
    answer = fresh.say(line | {"asked": asked})
    why = "invalid request `end`: Object missing required field `log`"
    assert answer == {"error": why}
    assert fresh.word() == {"lost": "words:do_unpack", "why": why}
    is_at_work(fresh)


def test_malformed_messages_of_the_server_are_noted_and_ignored(fresh: Replayed) -> None:
    fresh.begin()
    assert fresh.process and fresh.process.stdin
    for line, note in {
        b"hello": "invalid message: not JSON",
        b"[]": "invalid message: not a JSON object",
        b'{"what": "other"}': "invalid message: unknown kind 'other'",
        b'{"what": "which"}': "invalid message `which`: Object missing required field `objects`",
    }.items():
        fresh.process.stdin.write(line + b"\n")
        fresh.process.stdin.flush()
        assert fresh.word() == {"note": note}
    is_at_work(fresh)


def test_closed_connection_is_ignored(fresh: Replayed) -> None:
    fresh.begin()
    knock(fresh).close()
    with knock(fresh) as connection:
        connection.sendall(b'{"what": "be')
    is_at_work(fresh)


def test_task_with_a_truncated_body_is_lost(fresh: Replayed) -> None:
    fresh.begin()
    line = of(lines(fresh), "words", "do_unpack")[1]
    fresh.lay_out(line)
    with knock(fresh) as connection:
        connection.sendall(
            json.dumps(line["asked"] | {"faked": True, "body": 1000}).encode() + b"\n" + b"[["
        )
    word = fresh.word()
    assert word["lost"] == "words:do_unpack"
    is_at_work(fresh)


def test_large_header_is_read(fresh: Replayed) -> None:
    fresh.begin()
    for line in of(lines(fresh), "words", "do_fetch"):
        assert fresh.say(line | {"asked": line["asked"] | {"sysroot": ["x" * 500_000]}}) == {}
    fresh.end()
    assert fresh.recorded() == {"words:do_fetch"}
