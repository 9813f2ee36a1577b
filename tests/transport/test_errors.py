"""Messages and hints of remote errors."""

from __future__ import annotations

import pytest

from prov.transport import errors
from prov.transport.errors import Unreachable, Untrusted


def test_an_unreachable_remote_has_a_hint() -> None:
    error = Unreachable("team", "no answer")
    assert str(error) == "remote team: no answer"
    assert "prov remote list" in error.hint
    assert Unreachable("team", "no answer", hint="wait").hint == "wait"


@pytest.mark.parametrize(
    ("key", "task", "text"),
    [
        ("", "", "remote team: is bad"),
        ("SHA256:x", "", "remote team: is bad (key SHA256:x)"),
        ("", "a:go", "remote team: a:go: is bad"),
        ("SHA256:x", "a:go", "remote team: a:go: is bad (key SHA256:x)"),
    ],
)
def test_an_untrusted_answer_names_its_signer_and_its_task(key: str, task: str, text: str) -> None:
    error = Untrusted("team", "is bad", key=key, task=task)
    assert str(error) == text
    assert (error.remote, error.words, error.key, error.task) == ("team", "is bad", key, task)


def test_no_error_is_unreachable_and_untrusted() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    assert [
        kind for kind in kinds if issubclass(kind, Unreachable) and issubclass(kind, Untrusted)
    ] == []
