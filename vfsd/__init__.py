"""vfsd: trees of providers over FUSE, and sandboxes on them."""
