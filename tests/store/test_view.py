from __future__ import annotations

from pathlib import Path

import pytest

from prov.errors import StoreError
from prov.store.repository import Store
from prov.store.view import git_view, read_configuration, read_setting

# configuration, prov.format
SETTINGS = [
    ("[prov]\n\tformat = 1\n", "1"),
    ("[PROV]\nFormat=1", "1"),
    ('[prov]\n\tformat = "1" # a comment\n', "1"),
    ("# [prov]\n# format = 1\n", None),
    ('[prov "x"]\n\tformat = 1\n', None),
    ('[prov]\n\tformat = 1\n[prov-remote "x"]\n\tformat = 2\n', "1"),
    ("[prov]\n\tformat = 1\n\tformat = 2\n", "2"),
    ("[prov]\n\tFormat = 1\n", "1"),
    ("[prov]\n\tformat = 1;2\n", "1"),
    ("[prov]\n\tformat = 1 # a\n", "1"),
    ("[prov]\n\tother = a b\n\tformat = 1\n", "1"),
    ("[prov]\n\tformat = \n", ""),
    ("[core]\n\tbare = true\n", None),
    ("[pro", None),
]


@pytest.mark.parametrize(("text", "value"), SETTINGS)
def test_a_setting_is_read_as_git_reads_it(text: str, value: str | None, tmp_path: Path) -> None:
    (tmp_path / "config").write_text(text)
    assert read_setting(tmp_path, "prov.format") == value


def test_includes_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("[include]\n\tpath = /etc/passwd\n")
    with pytest.raises(StoreError, match="includes other files"):
        read_setting(tmp_path, "prov.format")


def test_a_folder_is_not_a_configuration(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    with pytest.raises((StoreError, OSError)):
        read_configuration(tmp_path)


def test_a_store_of_the_users_own_is_used_as_it_is(store: Store) -> None:
    with git_view(store.path) as view:
        assert view == store.path


# lines added to the configuration, expected permission setting in the view
ADDED = [
    ("[alias]\n\tx = !touch /tmp/x\n", None),
    ("[core]\n\tsharedRepository = group\n\tsshCommand = x\n", "group"),
    ("[core]\n\tSHAREDREPOSITORY=0660\n", "0660"),
    ('[core]\n\tsharedRepository = "a b"\n', None),
]


@pytest.mark.parametrize(("text", "shared"), ADDED)
def test_a_configuration_with_more_is_replaced(text: str, shared: str | None, store: Store) -> None:
    with open(store.path / "config", "a") as stream:
        stream.write(text)
    with git_view(store.path) as view:
        assert view != store.path
        assert (view / "objects").resolve() == (store.path / "objects").resolve()
        assert read_setting(view, "core.sharedRepository") == shared
        assert read_setting(view, "core.sshCommand") is None
        assert read_setting(view, "alias.x") is None


def test_a_repository_that_others_can_write_to_is_replaced(store: Store) -> None:
    store.path.chmod(0o777)
    with git_view(store.path) as view:
        assert view != store.path
