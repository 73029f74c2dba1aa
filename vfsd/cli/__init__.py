"""The command line: main.py finds the verb, one file per group of verbs does the work."""
