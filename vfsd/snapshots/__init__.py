"""Layers, snapshots, forks: what a tree was, kept, compared and written back."""
