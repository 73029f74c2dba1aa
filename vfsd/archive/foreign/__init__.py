"""Archives that others made, read where they are: zip, tar, Node.js single executables.

Each is listed once; the list is kept as an archive of vfsd's own whose regular files hold where
their content is (listed.py), so that what was listed before is mounted as fast as a `.vfsa`.
"""
