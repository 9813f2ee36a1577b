"""Puts a recipe's sources under sources/: what is local is there already, the rest is fetched and checked.

SOURCES is a JSON list of {name, url, sha256, git, commit, unpack}. Nothing is kept that is not what was asked for.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request


def checked(path, sha256, origin):
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    if digest.hexdigest() != sha256:
        os.unlink(path)
        sys.exit(
            f"{origin}: sha256 is {digest.hexdigest()}, the recipe says {sha256}; if upstream's file is the right one, correct the recipe"
        )


def fetch_url(source, path):
    try:
        with urllib.request.urlopen(source["url"], timeout=60) as answer, open(path, "wb") as stream:
            shutil.copyfileobj(answer, stream, 1 << 20)
    except (urllib.error.URLError, OSError) as error:
        sys.exit(f"{source['url']}: can't be fetched: {error}; is the network there, and the address right?")
    checked(path, source["sha256"], source["url"])


def fetch_git(source, path):
    commit = source["commit"]
    git = ["git", "-c", "protocol.ext.allow=never", "-c", "advice.detachedHead=false", "-C", path]
    subprocess.run(["git", "init", "--quiet", path], check=True)
    exact = subprocess.run([*git, "fetch", "--quiet", "--depth=1", "--", source["git"], commit], check=False)
    if exact.returncode:
        # a server may refuse to serve a commit by its id: then all of it
        subprocess.run(
            [*git, "fetch", "--quiet", "--tags", "--", source["git"], "+refs/heads/*:refs/fetched/*"], check=True
        )
    subprocess.run([*git, "checkout", "--quiet", "--detach", commit], check=True)
    # the work tree is the source; what git keeps beside it differs from fetch to fetch
    shutil.rmtree(os.path.join(path, ".git"))


os.makedirs("sources", exist_ok=True)
for source in json.loads(os.environ["SOURCES"]):
    path = os.path.join("sources", source["name"])
    if source["url"]:
        fetch_url(source, path)
    elif source["git"]:
        fetch_git(source, path)
    elif source["sha256"]:
        checked(path, source["sha256"], source["name"])
    if not source["unpack"]:
        open(path + ".prov-keep", "w").close()
