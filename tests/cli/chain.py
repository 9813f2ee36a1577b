"""A recipe with a source and a patch."""

from __future__ import annotations

CHAIN = """version = '1'
patches = ['fix.patch']
sources = [{ file = 'src' }]
[variables]
S = '${WORKDIR}/src'
[tasks.go]
after = ['patch']
outputdir = 'out'
script = 'cat src/word > out/word'
"""
