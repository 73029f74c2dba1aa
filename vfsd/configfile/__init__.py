"""Configuration files (`vfsd.toml`): where they are, what may stand in them, how they are read.

What it is *not*: the values that come of them (vfsd/config.py).

Concurrency: blocking calls and pure functions. `vfsd run` imports none of this unless there is a
file to read.
"""
