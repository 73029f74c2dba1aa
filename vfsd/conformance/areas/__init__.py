"""The checks, a module per area of the contract; `vfsd.conformance.table` collects them."""
