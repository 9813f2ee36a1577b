"""The help of every command equals the recorded one, with every allowed version of typer."""

from __future__ import annotations

import pytest
from prov_cli.help import default_text, option_names
from typer.core import TyperOption

from tests.cli.help import SNAPSHOT, all_help


def test_help_equals_the_recorded_help() -> None:
    assert all_help() == SNAPSHOT.read_text(), "run `make man` and look at the difference"


def test_no_line_is_wider_than_a_terminal() -> None:
    assert [line for line in all_help().splitlines() if len(line) > 80] == []


def test_no_metavar_is_in_lower_case_or_a_type() -> None:
    assert "<" not in all_help().replace("< secret.txt", "")
    assert "{" not in all_help().replace("{release-1.0}", "").replace("{}", "")


@pytest.mark.parametrize(
    ("option", "names", "default"),
    [
        ({}, "--size TEXT", ""),
        ({"metavar": "SIZE"}, "--size SIZE", ""),
        ({"type": int, "default": 3}, "--size N", "[default: 3]"),
        ({"type": int, "default": 3, "show_default": False}, "--size N", ""),
        ({"is_flag": True, "type": bool, "default": False}, "--size", ""),
        ({"param_decls": ["size", "--size", "-s"]}, "-s, --size TEXT", ""),
    ],
)
def test_options_have_one_form(option: dict[str, object], names: str, default: str) -> None:
    settings = {"param_decls": ["size", "--size"], "show_default": True, **option}
    made = TyperOption(**settings)  # type: ignore[arg-type]
    assert (option_names(made), default_text(made)) == (names, default)
