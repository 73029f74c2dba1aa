"""Snapshots that live in a daemon's memory: names, costs, guarantees under load."""
