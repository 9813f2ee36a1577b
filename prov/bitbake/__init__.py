"""BitBake: the layer that its builds load, and the writer that records what they do.

All that knows of it is here.
"""
