"""The sandbox: what it is as data, what it closes, and how `vfsd run` treats its command."""
