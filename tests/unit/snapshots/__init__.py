"""The store of snapshots, and the trees it reads."""
