"""The fsspec provider: what any fsspec file system holds (http, s3, gcs, zip, git...), read-only.

fsspec itself is optional: nothing here imports it before something is attached.
"""

from providers.remote.provider import FsspecProvider

__all__ = ["FsspecProvider"]
