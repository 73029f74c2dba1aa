"""The built-in providers, one package each; only vfsd/assembly.py and entry points name them."""
