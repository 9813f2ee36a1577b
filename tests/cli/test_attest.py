"""`prov attest`: in-toto's tools can verify its statements with the public key alone."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import pytest

from tests.cli.story import Project, copy_project, small_project

pytestmark = pytest.mark.process

DOCS = Path(__file__).parents[2] / "docs" / "attestation.md"
LIB = """
version = '1'
build = ['go']
sources = [{ file = 'lib.txt' }]
[variables]
NAME = 'lib-${SUFFIX}'
SUFFIX = 'a'
[tasks.go]
inputs = ['sources']
outputdir = 'out'
script = 'cp sources/lib.txt out/$NAME; echo made'
"""
APP = (
    "version = '1'\nbuild = ['go']\n[tasks.go]\nfrom = ['lib:go']\noutputdir = 'out'\nscript ="
    " 'echo more > out/more'\n"
)


@pytest.fixture(scope="module")
def built_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = small_project(tmp_path_factory.mktemp("built") / "small")
    project.write("recipes/lib.toml", LIB)
    project.write("recipes/lib.txt", "one\n")
    project.write("recipes/app.toml", APP)
    project.prov("build", "app")
    return project.root


@pytest.fixture
def built(built_once: Path, tmp_path: Path) -> Project:
    copy_project(built_once, tmp_path / "small")
    return Project(tmp_path / "small")


def make_key(project: Project, *options: str) -> str:
    if not shutil.which("ssh-keygen"):
        pytest.skip("ssh-keygen is not installed")
    command = [
        "ssh-keygen",
        "-q",
        "-f",
        str(project.root / "attest.key"),
        "-t",
        "ed25519",
        "-N",
        "",
        *options,
    ]
    subprocess.run(command, check=True)
    return "attest.key"


def verified(project: Project, envelope: Path) -> Any:
    """Return the statement in an envelope, read with in-toto's types.

    Raises securesystemslib's VerificationError.
    """
    dsse = pytest.importorskip("securesystemslib.dsse")
    statements = pytest.importorskip("in_toto_attestation.v1.statement")
    from cryptography.hazmat.primitives.serialization import load_ssh_public_key
    from google.protobuf import json_format
    from in_toto_attestation.v1.statement_pb2 import Statement
    from securesystemslib.signer import SSlibKey

    public = load_ssh_public_key((project.root / "attest.key.pub").read_bytes())
    read = dsse.Envelope.from_dict(json.loads(envelope.read_bytes()))
    read.verify([SSlibKey.from_crypto(public)], 1)
    assert read.payload_type == "application/vnd.in-toto+json"
    statement = statements.Statement.copy_from_pb(json_format.Parse(read.payload, Statement()))
    statement.validate()
    return statement.pb


def test_attestation_verifies_with_the_public_key_alone(built: Project) -> None:
    key = make_key(built)
    for name in ("app", "lib:go"):
        assert built.ask("attest", name, "--key", key, "-o", f"{name}.json") == ""
    app, lib = (verified(built, built.root / f"{name}.json") for name in ("app", "lib:go"))
    # the file on disk is an attested subject
    built.prov("checkout", "app:go@output", "copy")
    digest = hashlib.sha256((built.root / "copy/out/lib-a").read_bytes()).hexdigest()
    digests = {subject.name: dict(subject.digest) for subject in app.subject}
    assert digests["out/lib-a"] == {"sha256": digest}
    # its dependency is the subject of the other attestation
    dependency = app.predicate["buildDefinition"]["resolvedDependencies"][0]
    assert dependency["name"] == "from/lib:go"
    assert dict(dependency["digest"]) == dict(lib.subject[0].digest)


def test_verifier_in_the_docs_accepts_an_attestation(built: Project) -> None:
    pytest.importorskip("securesystemslib")
    built.write("verify.py", DOCS.read_text().partition("```python\n")[2].partition("```")[0])
    built.prov("attest", "app", "--key", make_key(built), "-o", "app.json")
    command = [sys.executable, "verify.py", "attest.key.pub", "app.json"]
    done = subprocess.run(command, cwd=built.root, check=True, capture_output=True, text=True)
    assert [line.split()[::2] for line in done.stdout.splitlines()] == [
        ["gitTree", "app:go"],
        ["sha256", "out/lib-a"],
        ["sha256", "out/more"],
    ]
    built.edit("app.json", '"keyid": "', '"keyid": "0')
    done = subprocess.run(command, cwd=built.root, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")


def test_tampered_envelope_is_rejected(built: Project) -> None:
    errors = pytest.importorskip("securesystemslib.exceptions")
    key = make_key(built)
    built.prov("attest", "app", "--key", key, "-o", "app.json")
    verified(built, built.root / "app.json")
    table = json.loads((built.root / "app.json").read_text())
    payload = b64decode(table["payload"])
    assert b'"sandbox":"none"' in payload
    changed = b64encode(payload.replace(b'"sandbox":"none"', b'"sandbox":"bwrap"')).decode()
    (built.root / "app.json").write_text(json.dumps({**table, "payload": changed}))
    with pytest.raises(errors.VerificationError):
        verified(built, built.root / "app.json")


def test_statement_depends_on_the_record_alone(built: Project) -> None:
    bare = built.ask("attest", "app", "--unsigned")
    assert bare == built.ask("attest", built.tag("app:go"), "--unsigned")
    signed = json.loads(
        built.ask("attest", "app:go", "--build", "latest", "--key", make_key(built))
    )
    assert b64decode(signed["payload"]).decode() == bare
    # an ed25519 signature has no randomness
    assert signed == json.loads(built.ask("attest", "app:go", "--key", "attest.key"))


def test_digests_in_a_statement_are_objects_of_the_store(built: Project) -> None:
    table = json.loads(built.ask("attest", "lib:go", "--unsigned"))["predicate"]
    rows = {row["name"]: row["digest"] for row in table["buildDefinition"]["resolvedDependencies"]}
    assert built.git("cat-file", "blob", rows["sources/lib.txt"]["gitBlob"]) == "one\n"
    assert built.git("cat-file", "-t", rows["host-toolchain"]["gitTree"]) == "tree\n"
    assert (
        built.git("cat-file", "blob", table["runDetails"]["byproducts"][0]["digest"]["gitBlob"])
        == "made\n"
    )
    assert (
        built.git("cat-file", "-t", table["runDetails"]["metadata"]["invocationId"]) == "commit\n"
    )
    assert table["buildDefinition"]["externalParameters"]["variables"] == {
        "NAME": "lib-${SUFFIX}",
        "SUFFIX": "a",
    }


def test_environment_values_are_left_out(built: Project) -> None:
    built.edit("prov.toml", 'sandbox = "none"\n', 'sandbox = "none"\nenvironment = ["TOKEN"]\n')
    built.environment["TOKEN"] = "hush-hush"
    built.prov("build", "app")
    assert "hush-hush" in built.ask("show", "app:go")  # it is recorded
    text = built.ask("attest", "app", "--unsigned")
    assert "hush-hush" not in text
    parameters = json.loads(text)["predicate"]["buildDefinition"]["externalParameters"]
    assert (parameters["environment"], parameters["variables"]) == (["TOKEN"], {})
    # a digest would allow guessing a short value
    digests = {
        hashlib.sha256(b"TOKEN=hush-hush\n").hexdigest(),
        built.git("rev-parse", f"{built.tag('app:go')}^2:inputs/environment").strip(),
    }
    assert not any(digest in text for digest in digests)


def test_incremental_run_is_marked(built: Project) -> None:
    built.prov("build", "app:go", "--force", "app:go", "--incremental")
    table = json.loads(built.ask("attest", "app:go", "--unsigned"))["predicate"]["buildDefinition"]
    assert table["internalParameters"]["incremental"] is True
    rows = {row["name"]: row["digest"] for row in table["resolvedDependencies"]}
    assert rows["incremental"] == rows["workdir"]


def test_stale_result_is_attested_with_its_own_inputs(built: Project) -> None:
    before = built.ask("attest", "app", "--unsigned")
    built.edit("recipes/lib.txt", "one", "two")
    built.prov("build", "lib", "app", "--follow", "never")
    done = built.prov("attest", "app:go", "--build", "latest", "--unsigned")
    assert done.stdout == before
    assert "app:go is stale in build" in done.stderr


def test_failed_run_is_rejected(built: Project) -> None:
    built.edit("recipes/app.toml", "echo more", "exit 1; echo more")
    built.prov("build", "app", code=1)
    error = built.refused("attest", "app:go", "--unsigned")
    assert "prov: cannot attest app:go: the run failed hint: run `prov log app:go`" in error
    built.prov("attest", "app:go", "--build", "latest~1", "--unsigned")


def test_unusable_key_is_rejected_before_a_file_is_written(built: Project) -> None:
    error = built.refused(
        "attest", "app", "--key", make_key(built, "-N", "open sesame"), "-o", "app.json"
    )
    assert "attest.key: key has a passphrase" in error
    assert "hint: use a key without a passphrase" in error
    error = built.refused("attest", "app", "--key", "attest.key.pub", "-o", "app.json")
    assert "expected a private key, not a public key" in error
    make_rsa = ["ssh-keygen", "-q", "-f", str(built.root / "rsa.key"), "-t", "rsa", "-N", ""]
    subprocess.run(make_rsa, check=True)
    error = built.refused("attest", "app", "--key", "rsa.key", "-o", "app.json")
    assert (
        "rsa.key: unsupported key type RSA: expected ed25519 or ECDSA hint: run `ssh-keygen"
        in error
    )
    assert not (built.root / "app.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("app",),
            (
                "pass either --key FILE (run `ssh-keygen -t ed25519 -N '' -f FILE` to create a"
                " key) or --unsigned"
            ),
        ),
        (("app", "--key", "x", "--unsigned"), "pass either --key FILE"),
        (("app", "--unsigned", "--builder-id", "me"), "--builder-id 'me': not a URI"),
        (("latest/app:go", "--unsigned", "--build", "latest"), "--build needs RECIPE:TASK"),
    ],
)
def test_wrong_usage_is_rejected(small: Project, arguments: tuple[str, ...], message: str) -> None:
    assert message in small.prov("attest", *arguments, code=2).stderr


def test_missing_library_has_a_hint_and_is_not_needed_for_unsigned(
    built: Project,
) -> None:
    hidden = built.write(
        "hidden/securesystemslib/__init__.py", "raise ImportError('not here')\n"
    ).parents[1]
    built.environment["PYTHONPATH"] = str(hidden)
    error = built.refused("attest", "app", "--key", make_key(built))
    assert error == (
        "prov: signing requires securesystemslib: not here"
        " hint: run `pip install 'git-prov[attest]'`"
    )
    built.prov("attest", "app", "--unsigned", "--builder-id", "https://builds.example.org/a")


def test_library_is_imported_only_to_sign(built: Project) -> None:
    code = (
        "import sys; sys.argv = ['prov', 'attest', 'app', '--unsigned']\nfrom prov_cli.app import"
        " app\n"
    )
    code += (
        "app(standalone_mode=False); sys.exit('securesystemslib' in sys.modules or 'cryptography'"
        " in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=built.root, check=True, capture_output=True)
