"""Tests of the FUSE door that need no daemon."""
