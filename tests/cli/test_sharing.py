"""The remotes and results that sharing commands use."""

from __future__ import annotations

from pathlib import Path

import pytest
from prov_cli.sharing import check_shareable, print_withheld, selected_remotes, signing_key

from prov.errors import ProvError
from prov.remote.settings import make_remote, write_remote
from prov.store.repository import Store


def store_with(folder: Path, **remotes: bool) -> Store:
    """Return a store with these remotes; the values state whether builds publish to them."""
    store = Store.create(folder / "store")
    for name, push in remotes.items():
        write_remote(store, make_remote(name, f"file://{folder}/{name}", folder, push=push))
    return store


def names(store: Store, chosen: list[str] | None = None, *, to_push: bool = False) -> list[str]:
    return [remote.name for remote in selected_remotes(store, chosen, to_push=to_push)]


def test_default_remotes_are_all_unless_named(tmp_path: Path) -> None:
    store = store_with(tmp_path, one=False, two=False)
    assert sorted(names(store)) == ["one", "two"]
    assert names(store, ["two"]) == ["two"]
    with pytest.raises(ProvError, match="three"):
        names(store, ["three"])


def test_results_are_pushed_where_builds_publish_or_to_the_only_remote(tmp_path: Path) -> None:
    assert names(store_with(tmp_path / "a", one=False, two=True), to_push=True) == ["two"]
    assert names(store_with(tmp_path / "b", one=False), to_push=True) == ["one"]
    with pytest.raises(ProvError, match="no remote to push to"):
        names(store_with(tmp_path / "c", one=False, two=False), to_push=True)


def test_missing_remote_has_a_hint(tmp_path: Path) -> None:
    with pytest.raises(ProvError, match="no remotes") as caught:
        names(store_with(tmp_path))
    assert caught.value.hint == "run `prov remote add NAME URL` to add one"


def test_a_signing_key_is_a_file_or_gnupgs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    assert signing_key("") == ""
    assert signing_key("gpg:ABCD") == "gpg:ABCD"
    assert signing_key("key") == str(tmp_path / "key")
    assert signing_key("~/key") == "/home/me/key"


def test_nothing_recorded_is_not_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    check_shareable([], {})
    assert "nothing to share: no successful task is recorded" in capsys.readouterr().out


def test_withheld_results_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    print_withheld({"a:go": "it is stale"})
    assert capsys.readouterr().err.startswith("note: not shared: ")
