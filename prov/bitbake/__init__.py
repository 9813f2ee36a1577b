"""BitBake support: the layer that a build loads, and the writer process that records the build.

No other package depends on BitBake's formats.
"""
