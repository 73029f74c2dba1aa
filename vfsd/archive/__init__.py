"""The archive: a tree of files in a single file. Its format is docs/FORMAT.md's."""
