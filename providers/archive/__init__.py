"""The archive provider: the files in one file, read-only."""

from providers.archive.provider import ArchiveProvider

__all__ = ["ArchiveProvider"]
