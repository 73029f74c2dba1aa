"""Compiling filters of system calls with libseccomp, through ctypes.

libseccomp knows the numbers of calls on every processor and makes BPF of rules; here are the
six of its functions that this takes. The library is part of the base system of Debian, Fedora
and Arch, and its interface has been the same since version 2.0.

A call that the installed libseccomp does not know is left out, so an older library gives a
stricter filter.

What it is *not*: the policy (syscalls.py), or a cache (seccomp.py).

Concurrency: blocking, no shared state. Raises OSError where the library is missing or refuses.

Sources: seccomp_init(3), seccomp_rule_add(3), seccomp_attr_set(3), seccomp_export_bpf(3);
seccomp.h of libseccomp 2.5, enum scmp_compare, struct scmp_arg_cmp.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable

from vfsd.sandbox.syscalls import AtLeast, Equal, Rule, Unlike

SONAME = "libseccomp.so.2"

ACT_KILL_PROCESS = 0x8000_0000
ACT_ERRNO = 0x0005_0000
ACT_ALLOW = 0x7FFF_0000
ATTRIBUTE_BADARCH, ATTRIBUTE_OPTIMIZE = 2, 8
OPTIMIZE_TREE = 2
"""Decide by a binary tree of numbers, not one after the other."""
COMPARE_NE, COMPARE_GE, COMPARE_MASKED_EQ = 1, 5, 7
UNKNOWN = -1


class _Comparison(ctypes.Structure):
    """struct scmp_arg_cmp."""

    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


def compile_filter(default_errno: int, rules: Iterable[Rule]) -> bytes:
    """Return a BPF program that gives `default_errno` (0: allows) where no rule holds.

    Calls of another architecture than this machine's own end the process.
    """
    library = _load()
    context = library.seccomp_init(_action(default_errno))
    if not context:
        raise OSError("libseccomp cannot make a filter")
    try:
        _check(library.seccomp_attr_set(context, ATTRIBUTE_BADARCH, ACT_KILL_PROCESS))
        # Older ones cannot; theirs is the slower program that does the same.
        library.seccomp_attr_set(context, ATTRIBUTE_OPTIMIZE, OPTIMIZE_TREE)
        for rule in rules:
            number = library.seccomp_syscall_resolve_name(rule.call.encode())
            if number != UNKNOWN:
                _add(library, context, number, rule)
        return _export(library, context)
    finally:
        library.seccomp_release(context)


def _add(library: ctypes.CDLL, context: int, number: int, rule: Rule) -> None:
    comparisons = (_Comparison * len(rule.conditions))(*map(_comparison, rule.conditions))
    _check(
        library.seccomp_rule_add_array(
            context, _action(rule.errno), number, len(comparisons), comparisons
        )
    )


def _comparison(condition: Equal | AtLeast | Unlike) -> _Comparison:
    if isinstance(condition, Equal):
        return _Comparison(condition.argument, COMPARE_MASKED_EQ, condition.mask, condition.value)
    operator = COMPARE_GE if isinstance(condition, AtLeast) else COMPARE_NE
    return _Comparison(condition.argument, operator, condition.value, 0)


def _action(number: int) -> int:
    return ACT_ERRNO | number if number else ACT_ALLOW


def _export(library: ctypes.CDLL, context: int) -> bytes:
    fd = os.memfd_create("seccomp", os.MFD_CLOEXEC)
    try:
        _check(library.seccomp_export_bpf(context, fd))
        return os.pread(fd, os.fstat(fd).st_size, 0)
    finally:
        os.close(fd)


def _check(result: int) -> None:
    if result < 0:
        raise OSError(-result, f"libseccomp: {os.strerror(-result)}")


def _load() -> ctypes.CDLL:
    library = ctypes.CDLL(SONAME)
    context, number = ctypes.c_void_p, ctypes.c_uint32
    library.seccomp_init.restype = context
    library.seccomp_init.argtypes = (number,)
    library.seccomp_release.argtypes = (context,)
    library.seccomp_attr_set.argtypes = (context, ctypes.c_int, number)
    library.seccomp_syscall_resolve_name.argtypes = (ctypes.c_char_p,)
    library.seccomp_rule_add_array.argtypes = (
        *(context, number, ctypes.c_int, ctypes.c_uint),
        ctypes.c_void_p,
    )
    library.seccomp_export_bpf.argtypes = (context, ctypes.c_int)
    return library
