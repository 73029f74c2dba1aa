"""`vfsd run` over a layer: engines, bases, what is kept, and the runs that run."""
