"""Classify git's output of a failed push."""

from __future__ import annotations

import pytest

from prov.transport.answers import Verdict, hint_for, judge_push, rejections, summarize

INDEX, CONTENT = "refs/heads/prov/index", "refs/heads/prov/content"


def row(ref: str, said: str) -> str:
    return f"!\t{'1' * 40}:{ref}\t{said}"


@pytest.mark.parametrize(
    ("rows", "words", "verdict"),
    [
        (["[rejected] (stale info)", "[rejected] (atomic push failed)"], "", Verdict.RACE),
        (["[rejected] (fetch first)"], "", Verdict.RACE),
        (["[rejected] (non-fast-forward)"], "", Verdict.RACE),
        (
            ["[remote rejected] (failed to update ref)"],
            "cannot lock ref 'x': is at 1 but expected 2",
            Verdict.RACE,
        ),
        (
            ["[remote rejected] (atomic transaction failed)"],
            "Unable to create 'x.lock': File exists.",
            Verdict.RACE,
        ),
        (["[remote rejected] (failed to lock)"], "", Verdict.RACE),
        (["[remote rejected] (incorrect old value provided)"], "", Verdict.RACE),
        (
            ["[remote rejected] (atomic push failure)", "[remote rejected] (non-fast-forward)"],
            "",
            Verdict.DECLINED,
        ),
        (["[remote rejected] (deletion prohibited)"], "", Verdict.DECLINED),
        (["[remote rejected] (deny updating a hidden ref)"], "", Verdict.DECLINED),
        (
            ["[remote rejected] (pre-receive hook declined)"],
            "remote: x.lock': File exists",
            Verdict.DECLINED,
        ),
        (["[remote rejected] (hook declined)"], "remote: No space left for you", Verdict.DECLINED),
        (["[remote rejected] (protected branch hook declined)"], "", Verdict.DECLINED),
        (
            ["[remote rejected] (push declined due to repository rule violations)"],
            "",
            Verdict.DECLINED,
        ),
        (["[remote rejected] (branch is currently checked out)"], "", Verdict.DECLINED),
        ([], "fatal: ref updates aborted by hook", Verdict.DECLINED),
        (["[remote rejected] (failed to update ref)"], "", Verdict.UNCLEAR),
        (
            ["[remote rejected] (failed to update ref)"],
            "x.lock': Permission denied",
            Verdict.BROKEN,
        ),
        (
            ["[remote rejected] (failed to update ref)"],
            "'refs/heads/prov' exists; cannot create",
            Verdict.BROKEN,
        ),
        (["[remote rejected] (unpacker error)"], "", Verdict.BROKEN),
        (["[remote rejected] (shallow update not allowed)"], "", Verdict.BROKEN),
        (["[remote failure] (remote failed to report status)"], "", Verdict.BROKEN),
        ([], "fatal: Could not read from remote repository.", Verdict.BROKEN),
    ],
)
def test_the_verdict_on_a_failed_push(rows: list[str], words: str, verdict: Verdict) -> None:
    refs = (INDEX, CONTENT)
    rejected = rejections([row(ref, said) for ref, said in zip(refs, rows, strict=False)])
    assert len(rejected) == len(rows)
    assert judge_push(rejected, words) is verdict


@pytest.mark.parametrize(
    ("reason", "setting"),
    [
        ("non-fast-forward", "receive.denyNonFastForwards"),
        ("deletion prohibited", "receive.denyDeletes"),
        ("deny updating a hidden ref", "transfer.hideRefs"),
        ("branch is currently checked out", "receive.denyCurrentBranch"),
    ],
)
def test_the_setting_is_reported(reason: str, setting: str) -> None:
    rejected = rejections(
        [
            row(INDEX, "[remote rejected] (atomic push failure)"),
            row(CONTENT, f"[remote rejected] ({reason})"),
        ]
    )
    said = summarize("error: failed to push some refs to 'x'", rejected)
    assert setting in said
    assert CONTENT in said
    assert "failed to push" not in said
    assert hint_for(said)


def test_an_error_is_one_printable_line() -> None:
    said = summarize(
        "To x\nremote: \x1b[31mno\x07\r\nremote:   \nerror: failed\n\nhint: none\nerror: failed\n"
    )
    assert said == "remote: ?[31mno?; error: failed"
    assert summarize("") == "git failed and printed nothing"


def test_advice_about_locks_is_removed() -> None:
    said = summarize(
        "remote: error: Unable to create '/srv/x.lock': File exists.\nremote: \nremote: Another git"
        " process seems to be running in this repository, e.g.\nremote: an editor opened by 'git"
        " commit'. Please make sure all processes\nremote: are terminated then try again. If it"
        " still fails, a git process\nremote: may have crashed in this repository earlier:\nremote:"
        " remove the file manually to continue.\n"
    )
    assert said == "remote: error: Unable to create '/srv/x.lock': File exists."


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (
            "fatal: detected dubious ownership in repository at '/srv/x.git'",
            "--add safe.directory /srv/x.git",
        ),
        ("fatal: '/srv/x.git' does not appear to be a git repository", "git init --bare"),
        ("fatal: remote error: upload-pack: not our ref 1234", "git fsck"),
        (
            "fatal: could not read Username for 'https://x': terminal prompts disabled",
            "credential helper",
        ),
        (
            "remote: error: cannot lock ref 'a/b': 'a' exists; cannot create 'a/b'",
            "rename the",
        ),
        ("git@host: Permission denied (publickey).", "ssh -v"),
        ("fatal: bad config line 1 in file /home/a/.gitconfig", "correct that line"),
    ],
)
def test_an_error_has_a_hint(words: str, hint: str) -> None:
    assert hint in hint_for(words)


def test_only_the_cause_is_reported() -> None:
    said = summarize(
        "fatal: 'x' does not appear to be a git repository\nfatal: Could not read from remote"
        " repository.\n"
    )
    assert said == "fatal: 'x' does not appear to be a git repository"
    assert (
        summarize("fatal: Could not read from remote repository.")
        == "fatal: Could not read from remote repository."
    )
