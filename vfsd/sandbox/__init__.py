"""Running a command on the tree, closed off from the host.

spec.py says what a sandbox is and renders it to bwrap's arguments, without any I/O; host.py
looks at this machine for it, mounts.py for the mount to work on; runner.py starts it and is a
good parent to it; terminal.py gives it a terminal of its own; probe.py finds out what this
machine can do. syscalls.py says which system calls there are inside, libseccomp.py and
seccomp.py make a filter of it; limits.py says what a run may use up, holding.py chooses
what holds it to that: limiting.py, cgroups.py and output.py. signals.py is `signal`, but light.

bases.py and projects.py find what a command works on, gitbase.py and filesmap.py bring it here.
overlaid.py (with enter.c, enter.py, steps.py), served.py and native.py are the engines; changes.py
counts what a layer changes. runs.py keeps the list of runs, joining.py enters one and
becoming.py becomes a command there. givenfile.py stands before a file as standard input.
"""
