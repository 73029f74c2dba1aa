"""`vfsd run` over a real mount: what it promises, and what must not work in it."""
