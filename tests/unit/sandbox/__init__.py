"""Parts of the sandbox that need none: no mount, no bwrap."""
