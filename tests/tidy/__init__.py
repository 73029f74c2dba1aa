"""Checks of the project's own text: names, sizes, words, and that documents tell the truth."""
