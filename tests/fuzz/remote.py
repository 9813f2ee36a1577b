"""Parsers of prov/remote: data of servers, cache folders and store configurations."""

from __future__ import annotations

from pathlib import Path

from hypothesis import strategies as st

from prov.errors import ProvError, StoreError
from prov.intake.wellformed import BadObject, Limits, check_listing, checked_commit, checked_entries
from prov.reapi.address import Address
from prov.reapi.connection import ServerFailed
from prov.reapi.transfer import listed
from prov.reapi.wire import messages_pb2 as wire
from prov.remote.publication import Publication, Published, decode_publication
from prov.remote.settings import _remote
from prov.remote.static.manifest import Bundle, Manifest, decode_manifest
from prov.remote.trust import judge
from prov.store.objects import Commit, Identity, encode_tree, escape_name
from prov.transport.address import (
    check_name,
    folder_of,
    git_dir_of,
    parse_address,
    without_password,
)
from prov.transport.answers import hint_for, judge_push, lock_is_held, rejections, summarize
from prov.transport.errors import Malformed, RemoteError
from prov.worktree.attributes import Listing
from tests.fuzz.common import keys, oids, scratch, text, texts, words
from tests.fuzz.parser import Parser
from tests.fuzz.store import trees
from tests.fuzz.worktree import attribute_lines, listings, read_attributes

numbers = st.integers(0, 1 << 40).map(str)
digests = st.binary(min_size=32, max_size=32)
places = st.just("") | oids.map(bytes.hex)
sizes = st.integers(0, 10**14)
published = st.builds(
    lambda *fields: Published(*fields[:8], *fields[8]),
    keys,
    oids,
    oids,
    oids,
    oids,
    digests,
    sizes,
    places,
    st.just((b"", b"")) | st.tuples(oids, digests),
)
publications = st.builds(
    Publication,
    st.integers(0, (1 << 40) - 1),
    st.lists(published, max_size=3).map(tuple),
    st.lists(oids, max_size=2).map(tuple),
)
bundles = st.lists(
    st.builds(Bundle, st.integers(0, 10**8 - 1), st.integers(0, 10**14), st.integers(0, 10**4)),
    max_size=3,
).map(tuple)
manifests = st.builds(
    Manifest, st.dictionaries(st.integers(0, 10**8 - 1), st.booleans(), max_size=3), bundles
)
host_words = st.from_regex(r"[a-z][a-z0-9.-]{0,8}", fullmatch=True)
hosts = st.builds(
    "{}{}{}".format,
    st.sampled_from(["", "me@", "me:secret@"]),
    host_words,
    st.sampled_from(["", ":22"]),
)
urls = st.builds(
    "{}://{}/{}".format, st.sampled_from(["ssh", "http", "https", "git"]), hosts, words
)
addresses = (
    urls | st.builds("file:///{}".format, words) | st.builds("{}:{}".format, host_words, words)
)
answers = st.sampled_from(
    [
        "!\trefs/heads/prov/index:refs/heads/prov/index\t[remote rejected] (hook declined)",
        "!\tHEAD:refs/heads/prov/index\t[rejected] (stale info)",
        "remote: error: denying non-fast-forward refs/heads/prov/index (you should pull first)",
        "fatal: detected dubious ownership in repository at '/srv/cache'",
        "error: cannot lock ref 'refs/heads/x': Unable to create '/srv/x.lock': File exists",
        "fatal: unable to access 'http://me:secret@host/': SSL certificate problem",
    ]
)
fields = (
    "url",
    "push",
    "priority",
    "trust",
    "signers",
    "key",
    "limit",
    "workdirs",
    "devices",
    "static",
)
settings_lines = st.fixed_dictionaries(
    {},
    optional={
        "priority": numbers,
        "limit": numbers,
        "trust": st.sampled_from(["keys", "none"]),
        "signers": words,
        "push": st.just("true"),
    },
).map(
    lambda table: "".join(
        f"{name} {value}\n" for name, value in {"url": "ssh://host/x", **table}.items()
    ).encode()
)


def read_settings(data: bytes) -> object:
    rows = (line.partition(" ")[::2] for line in text(data).split("\n") if line)
    return _remote("team", dict(rows))


def read_answer(data: bytes) -> object:
    words = text(data)
    rejected = rejections(words.split("\n"))
    said = summarize(words, rejected)
    assert said.isprintable() and len(said) <= 1000
    return judge_push(rejected, words), hint_for(words), lock_is_held(words)


def read_address(data: bytes) -> str:
    url = parse_address(text(data), Path("/home/me"))
    assert parse_address(url, Path("/")) == url, url
    assert not url.startswith("-") and "::" not in url.partition("/")[0].partition("[")[0], url
    if url.startswith(("http://", "https://")):
        assert ":secret@" not in without_password(url).partition("://")[2].partition("/")[0], url
    folder_of(url)
    return url


def read_git_file(data: bytes) -> object:
    folder = scratch("worktree")
    (folder / ".git").write_bytes(data)
    return git_dir_of(folder)


def entries(data: bytes) -> object:
    return checked_entries(data, b"", Limits())


def check_attributes(data: bytes) -> Listing:
    """Check attributes as `Intake.check_pair` does."""
    try:
        listing, pair = read_attributes(data)
    except StoreError as error:
        raise BadObject(str(error)) from error
    check_listing(pair, listing, b"", Limits(devices=True))
    return listing


escaped_trees = trees.map(lambda rows: [row._replace(name=escape_name(row.name)) for row in rows])
identities = st.builds(
    Identity, st.just("prov"), st.just("prov@localhost"), st.integers(0, 1 << 39)
)
own_commits = st.builds(
    Commit,
    oids,
    st.lists(oids, max_size=2).map(tuple),
    identities,
    texts.map(lambda each: each.replace("\0", "")),
)


def result_tree(rows: list[tuple[bytes, int]]) -> bytes:
    """Return the message that lists the files of an action's result."""
    files = [
        wire.FileNode(name=name.hex(), digest=wire.Digest(hash="0" * 64, size_bytes=size))
        for name, size in rows
    ]
    return wire.Tree(root=wire.Directory(files=files)).SerializeToString()


server_urls = st.from_regex(
    r"grpcs://[a-z0-9.-]{1,9}(:[0-9]{1,5})?(/[a-z]{1,5}){0,2}", fullmatch=True
)


PARSERS = [
    Parser(
        "publication.decode_publication",
        decode_publication,
        ValueError,
        publications,
        Publication.encode,
        inverse=True,
        canonical=Publication.encode,
    ),
    Parser(
        "trust.judge",
        lambda data: judge("team", "none", data, None),
        Malformed,
        publications,
        Publication.encode,
    ),
    Parser(
        "wellformed.checked_entries",
        entries,
        BadObject,
        escaped_trees,
        encode_tree,
        canonical=encode_tree,
    ),
    Parser(
        "wellformed.checked_commit",
        lambda data: checked_commit(data, bytes(20)),
        BadObject,
        own_commits,
        Commit.encode,
        inverse=True,
        canonical=Commit.encode,
    ),
    Parser(
        "wellformed.check_listing",
        check_attributes,
        BadObject,
        listings,
        attribute_lines,
        valid=False,
    ),
    Parser(
        "manifest.decode_manifest",
        decode_manifest,
        ValueError,
        manifests,
        Manifest.encode,
        inverse=True,
    ),
    Parser("settings.read_remotes", read_settings, RemoteError, settings_lines),
    Parser("address.parse_address", read_address, RemoteError, addresses.map(str.encode)),
    Parser(
        "address.check_name",
        lambda data: check_name(text(data)).encode(),
        RemoteError,
        st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True).map(str.encode),
        canonical=bytes,
    ),
    Parser(
        "address.git_dir_of", read_git_file, None, st.just(b"gitdir: /srv/x/.git/worktrees/y\n")
    ),
    Parser(
        "answers",
        read_answer,
        None,
        st.lists(answers, max_size=3).map(lambda rows: "\n".join(rows).encode()),
    ),
    Parser(
        "address.Address.parse",
        lambda data: Address.parse(text(data)),
        ProvError,
        server_urls.map(str.encode),
    ),
    Parser(
        "transfer.listed",
        listed,
        ServerFailed,
        st.lists(st.tuples(oids, sizes), max_size=3, unique_by=lambda row: row[0]),
        result_tree,
    ),
]
