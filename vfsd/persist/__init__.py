"""Trees in memory that outlive their daemon: stored now and then, journaled in between.

    keeping.py      a kept tree's life: opened, stored when it changed, stored at the end
    place.py        where its journal lies, and who holds the name
    loading.py      a stored tree read back into memory
    journaled.py    the provider in between, which notes every change
    journal.py      the changes on disk
    replaying.py    the changes done again

**What is durable when.** A change is noted in memory at once, and on disk, with all changes before
it, when a program calls fsync (or fdatasync, or syncs a directory). Once in a while, and at the
end, the whole tree is stored as a snapshot, as what changed since the last one; the journal then
begins anew. A start loads the snapshot and does the journal's changes again.

What it is *not*: the store (vfsd/snapshots), which it uses as everybody does.
"""
