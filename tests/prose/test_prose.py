"""The project's prose is idiomatic, and its errors and hints have one form."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import messages as collected
from .messages import MARK, Message
from .phrases import MOST, PHRASES, phrase_counts, rate, sentences, word_counts
from .texts import Text, all_texts

VERBS = frozenset(
    """
    add allow attest build change check choose compare contact copy correct create declare delete
    do end enable exclude export fix follow free give ignore increase install keep lower make mark
    move name omit pass pin print publish pull push quote read recreate reduce remove rename repair
    repeat replace report reset restore rerun retry run separate set shorten sign start stop store
    unset update upgrade use wait write
    """.split()  # noqa: SIM905
)
"""A hint begins with one of these verbs, or with a condition."""
CONDITIONS = ("if ", "to ", "in ", "for ", "when ", "did you mean ", "pip ", MARK)


@pytest.fixture(scope="module")
def texts() -> list[Text]:
    return list(all_texts())


@pytest.fixture(scope="module")
def messages() -> list[Message]:
    return collected.messages()


@pytest.mark.parametrize("name", PHRASES)
@pytest.mark.parametrize("kind", ["docs", "help", "docstrings", "comments"])
def test_unidiomatic_phrase_is_rare(texts: list[Text], kind: str, name: str) -> None:
    of_kind = [text for text in texts if text.kind == kind]
    count = phrase_counts(of_kind)[kind, name]
    words = word_counts(of_kind)[kind]
    allowed = max(MOST, rate(1, words))
    assert rate(count, words) <= allowed, "\n".join(sentences(of_kind, name))


def test_the_collector_finds_errors_and_hints(messages: list[Message]) -> None:
    assert sum(not message.is_hint for message in messages) > 300
    assert sum(message.is_hint for message in messages) > 200


def test_a_message_is_one_line_in_the_fields_words(messages: list[Message]) -> None:
    wrong = [
        str(message)
        for message in messages
        if "\n" in message.text or " is no " in message.text or " are no " in message.text
    ]
    assert wrong == []


def test_an_error_begins_in_lower_case_and_has_no_full_stop(messages: list[Message]) -> None:
    wrong = [
        str(message)
        for message in messages
        if message.text.endswith(".") and not message.text.endswith("...")
    ]
    assert wrong == []


def test_a_hint_begins_with_an_action(messages: list[Message]) -> None:
    wrong = []
    for hint in (message for message in messages if message.is_hint and message.text):
        first = hint.text.split()[0].strip("`,;:")
        if first not in VERBS and not hint.text.startswith(CONDITIONS):
            wrong.append(str(hint))
    assert wrong == []


def test_sentences_are_listed_with_their_place() -> None:
    text = Text("docs", Path("page.md"), 3, "Ask someone\nwho knows.")
    assert list(sentences([text], "who")) == ["page.md:3: Ask someone who knows."]
    assert phrase_counts([text])["docs", "who"] == 1
    assert word_counts([text])["docs"] == 4
