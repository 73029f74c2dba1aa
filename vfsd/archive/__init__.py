"""The archive: a tree of files in a single file. Its format is docs/FORMAT.md's.

`writer.py` writes one (into an `OutFile` of outfile.py), `reader.py` reads it lazily, `verify.py`
looks at all of it. Nothing here knows FUSE, providers or the command line.
"""
