"""Labels of builds, and pins, which keep a build until they are removed.

Both are refs, so git can use them: `git log prov/label/release`.
"""

from __future__ import annotations

import re

from prov.errors import NameUnknown, ProvError
from prov.records.build_list import BuildList
from prov.records.ids import CommitId
from prov.records.refs import LABELS, PINS, LabelRef, PinRef
from prov.store.refs import RefUpdate
from prov.store.repository import Store
from prov.text import nearest

LATEST = "latest"
"""The name of the last build."""
NOT_LABELS = (LATEST, "builds", "")
"""Names that mean the last build and cannot be labels."""
_LABEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,199}")
_ID_PREFIX = re.compile("[0-9a-f]{4,40}")
_HINT = "use letters, digits and . _ + -; `latest` and names that look like an id are not allowed"


def is_label(name: str) -> bool:
    """Return whether a name is valid as a label, whether or not it exists."""
    if name in NOT_LABELS or name.endswith("HEAD") or _ID_PREFIX.fullmatch(name):
        return False
    is_ref = ".." not in name and not name.endswith((".lock", "."))
    return is_ref and _LABEL.fullmatch(name) is not None


def check_label(name: str) -> None:
    """Raise ProvError if a name is invalid as a label."""
    if not is_label(name):
        raise ProvError(f"invalid label {name!r}", hint=_HINT)


def labelled_build(store: Store, label: str) -> CommitId | None:
    """Return the build with a label, or None."""
    if not _LABEL.fullmatch(label):
        return None
    commit = store.refs.get(str(LabelRef(label)))
    return CommitId(commit) if commit is not None else None


def all_labels(store: Store) -> list[str]:
    """Return the labels of all builds, sorted."""
    return [ref.removeprefix(LABELS) for ref in store.refs.list(LABELS)]


def labels_of(store: Store) -> dict[CommitId, tuple[str, ...]]:
    """Return build -> its labels."""
    labels: dict[CommitId, tuple[str, ...]] = {}
    for ref, oid in store.refs.list(LABELS).items():
        build = CommitId(oid)
        labels[build] = (*labels.get(build, ()), ref.removeprefix(LABELS))
    return labels


def set_label(store: Store, label: str, build: BuildList) -> CommitId | None:
    """Label a build; return the other build that had the label before, or None.

    Raises ProvError for an invalid label.
    """
    check_label(label)
    before = labelled_build(store, label)
    store.refs.update(RefUpdate(str(LabelRef(label)), build.commit, before))
    return before if before != build.commit else None


def remove_label(store: Store, label: str) -> None:
    """Remove a label. Raises NameUnknown."""
    labels = all_labels(store)
    if label not in labels:
        raise NameUnknown(f"no label is named {label}", hint=nearest(label, labels))
    store.refs.update(RefUpdate(str(LabelRef(label)), None))


def pinned(store: Store) -> frozenset[CommitId]:
    """Return the pinned builds."""
    return frozenset(CommitId(oid) for oid in store.refs.list(PINS).values())


def set_pin(store: Store, build: BuildList, *, keep: bool) -> None:
    """Pin a build, or remove its pin."""
    ref = str(PinRef(build.commit))
    if keep:
        store.refs.update(RefUpdate(ref, build.commit))
    elif store.refs.get(ref) is not None:
        store.refs.update(RefUpdate(ref, None))
