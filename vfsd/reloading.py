"""What a configuration attached, and following a change of it while the tree is in use.

Only what changed is changed, and what is in use stays: an attachment with open files is left as
it is, and said so. Attachments that somebody made by hand are nobody's but theirs. All that is
new is opened before anything old goes, so that a source that is not there changes nothing.

A tree that is kept (`persist`) has one user at a time. One whose attachment differs, or that is to
stand at another prefix, is detached first, which stores it, and then opened again; if that fails it
goes back to where and how it was.

What it is *not*: reading the file (vfsd/configfile), or attaching itself (daemon.py).

Concurrency: `start` and `follow` are called by one task, one after the other.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Mapping
from typing import NamedTuple, Protocol, runtime_checkable

from vfsd.attributes import Identity
from vfsd.config import AttachConfig, MountConfig
from vfsd.contract import Provider
from vfsd.errors import UserError
from vfsd.tree import Attachment

log = logging.getLogger(__name__)

LIMITS = frozenset({"size", "inodes"})
"""Options that can change while the provider is in use."""

FIXED = (
    *("mountpoint", "source", "read_only", "persist"),
    *("allow_other", "xattrs", "list_provenance", "meta", "hot_loop", "poll_us"),
)
"""What needs a new mount."""


@runtime_checkable
class HasLimits(Protocol):
    """A provider whose quotas can be changed."""

    def set_limits(self, options: Mapping[str, str]) -> None:
        """Hold to `size` and `inodes`, each without a limit if it is not there. UserError."""


class Host(Protocol):
    """What this asks of the daemon."""

    async def open_configured(self, config: AttachConfig) -> Provider: ...

    async def attach_provider(
        self, prefix: bytes, provider: Provider, caller: Identity, *, read_only: bool
    ) -> Attachment: ...

    async def detach(self, prefix: bytes, *, lazy: bool) -> None: ...

    async def discard(self, provider: Provider) -> None: ...


class Made(NamedTuple):
    """An attachment that the configuration made."""

    config: AttachConfig
    attachment: Attachment


class Configured:
    """See the module."""

    def __init__(self, host: Host, config: MountConfig, root: Provider) -> None:
        self._host = host
        self._config = config
        self._root = root
        self._made: dict[bytes, Made] = {}
        self._caller = Identity(os.geteuid(), os.getegid())

    async def start(self) -> None:
        """Attach everything, an outer one before those on it. UserError, OSError: as `attach`."""
        for each in self._config.attachments:
            await self._attach(each, await self._open(each))

    async def follow(self, config: MountConfig) -> None:
        """Go over to `config`. UserError if a new source cannot be opened: nothing has changed."""
        wanted = {each.prefix: each for each in config.attachments}
        there = {prefix: made.config for prefix, made in self._present().items()}
        # What was detached by hand stays so until its own configuration changes.
        known = {prefix: made.config for prefix, made in self._made.items()}
        new = [each for each in wanted.values() if known.get(each.prefix) != each]
        limited = [each for each in new if _only_limits(there.get(each.prefix), each)]
        replaced = [each for each in new if each not in limited]
        going = [prefix for prefix in there if prefix not in wanted]
        going += [each.prefix for each in replaced if each.prefix in there]
        held = {name: prefix for prefix in going if (name := _name(there[prefix])) is not None}
        again = {each.prefix: held[name] for each in replaced if (name := _name(each)) in held}
        opened = await self._open_all([each for each in replaced if each.prefix not in again])
        for prefix in [prefix for prefix in known if prefix not in wanted and prefix not in there]:
            del self._made[prefix]
        for each in limited:
            self._limit(each)
        # An inner one before the one that it stands on.
        kept = [prefix for prefix in sorted(going, reverse=True) if not await self._detach(prefix)]
        for each in replaced:
            if each.prefix in again:
                if not {each.prefix, again[each.prefix]} & set(kept):
                    await self._attach_again(each, there[again[each.prefix]])
            elif each.prefix in kept:
                await self._host.discard(opened[each.prefix])
            else:
                await self._try_to_attach(each, opened[each.prefix])
        self._follow_mount(config)

    # -- inside ---------------------------------------------------------------------------

    def _present(self) -> dict[bytes, Made]:
        """Return what was made and is still attached; somebody may have detached it by hand."""
        return {prefix: made for prefix, made in self._made.items() if made.attachment.attached}

    async def _open(self, config: AttachConfig) -> Provider:
        try:
            return await self._host.open_configured(config)
        except UserError as error:
            raise UserError(
                f"{os.fsdecode(config.prefix)}: {error.message}", error.exit_code
            ) from error

    async def _open_all(self, configs: list[AttachConfig]) -> dict[bytes, Provider]:
        opened: dict[bytes, Provider] = {}
        try:
            for each in configs:
                opened[each.prefix] = await self._open(each)
        except BaseException:
            for provider in opened.values():
                await self._host.discard(provider)
            raise
        return opened

    async def _try_to_attach(self, config: AttachConfig, provider: Provider) -> bool:
        try:
            await self._attach(config, provider)
        except (UserError, OSError) as error:
            log.error("%s was not attached: %s", os.fsdecode(config.prefix), error)
            return False
        return True

    async def _attach_again(self, config: AttachConfig, old: AttachConfig) -> None:
        """Attach a kept tree that was detached a moment ago, in its new way or else the old."""
        for each in (config, old):
            try:
                provider = await self._open(each)
            except (UserError, OSError) as error:
                log.error("a kept tree was not opened again: %s", error)
            else:
                if await self._try_to_attach(each, provider):
                    return

    async def _attach(self, config: AttachConfig, provider: Provider) -> None:
        attachment = await self._host.attach_provider(
            config.prefix, provider, self._caller, read_only=config.read_only
        )
        self._made[config.prefix] = Made(config, attachment)

    async def _detach(self, prefix: bytes) -> bool:
        """Say whether it is gone; what is in use stays."""
        try:
            await self._host.detach(prefix, lazy=False)
        except OSError as error:
            log.warning(
                "%s stays as it is (%s); reload once it is not in use",
                os.fsdecode(prefix),
                error.strerror,
            )
            return False
        del self._made[prefix]
        return True

    def _limit(self, config: AttachConfig) -> None:
        made = self._made[config.prefix]
        if _set_limits(made.attachment.base, config.options, os.fsdecode(config.prefix)):
            self._made[config.prefix] = Made(config, made.attachment)

    def _follow_mount(self, config: MountConfig) -> None:
        old = self._config
        named = [name for name in FIXED if getattr(old, name) != getattr(config, name)]
        if old.options != config.options:
            if not _only_limit_options(old.options, config.options):
                named.append("options")
            elif not _set_limits(self._root, config.options, "the root"):
                config = dataclasses.replace(config, options=old.options)
        if config.log_level != old.log_level:
            logging.getLogger().setLevel(config.log_level)
        if named:
            log.warning(
                "changes of %s need a new mount and are left for the next start", ", ".join(named)
            )
        kept = {name: getattr(old, name) for name in named}
        self._config = dataclasses.replace(config, **kept)


def _name(config: AttachConfig) -> str | None:
    """Return under which name its tree is kept, if it is."""
    return None if config.persist is None else config.persist.name


def _only_limits(old: AttachConfig | None, new: AttachConfig) -> bool:
    """Say whether nothing but quotas differs."""
    return (
        old is not None
        and dataclasses.replace(old, options=new.options) == new
        and _only_limit_options(old.options, new.options)
    )


def _only_limit_options(old: Mapping[str, str], new: Mapping[str, str]) -> bool:
    return {key: old[key] for key in old if key not in LIMITS} == {
        key: new[key] for key in new if key not in LIMITS
    }


def _set_limits(provider: Provider, options: Mapping[str, str], where: str) -> bool:
    if not isinstance(provider, HasLimits):
        log.warning("the quota of %s cannot be changed while it is in use", where)
        return False
    try:
        provider.set_limits(options)
    except UserError as error:
        log.warning("the quota of %s stays: %s", where, error.message)
        return False
    log.info("the quota of %s is changed", where)
    return True
