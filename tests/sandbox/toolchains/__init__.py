"""Real tools under `vfsd run`, as people use them; the engine is the one that is chosen."""
