"""Which system calls a sandboxed command may use: the policy, as data.

Two filters, and the stricter answer of the two counts. The first is a list of what is allowed;
what it does not name is answered with ENOSYS, as by a kernel that never had it, so that libc
and run times take their older way: this holds for every call that is newer than the list. What
`REFUSED` names gets EPERM. The second filter looks at arguments of calls that are allowed.

The list follows the default profiles of docker and podman, which all kinds of programs run
under. Stricter here: kernel keyrings, the kernel's log, fanotify, modify_ldt and all that
mounts, also where a program has the capability. Open here: ptrace and its like, for debuggers,
which reach no further than the sandbox's own pid namespace; seccomp itself; Landlock.

What it is *not*: numbers of system calls or BPF, which libseccomp makes of it (libseccomp.py).
docs/SECURITY.md has the same lists, and a test compares them.

Concurrency: immutable values.

Sources: seccomp(2); the seccomp profiles of containers/common and moby; flatpak-run.c,
"syscall_blocklist"; clone(2), ioctl_tty(2), socket(2), personality(2).
"""

from __future__ import annotations

import errno
from typing import NamedTuple

_ALLOWED = """
accept accept4 access adjtimex alarm arch_prctl bind breakpoint brk cacheflush cachestat
capget capset chdir chmod chown clock_adjtime clock_getres clock_gettime clock_nanosleep
clone close close_range connect copy_file_range creat dup dup2 dup3 epoll_create
epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd eventfd2 execve execveat
exit exit_group faccessat faccessat2 fadvise64 fallocate fchdir fchmod fchmodat fchmodat2
fchown fchownat fcntl fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat
fstatfs fsync ftruncate futex futex_requeue futex_wait futex_waitv futex_wake futimesat
get_robust_list get_thread_area getcpu getcwd getdents getdents64 getegid geteuid getgid
getgroups getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom
getresgid getresuid getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday
getuid getxattr inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel
io_destroy io_getevents io_pgetevents io_setup io_submit ioctl ioprio_get ioprio_set kcmp kill
landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lgetxattr link
linkat listen listxattr llistxattr lremovexattr lseek lsetxattr lstat madvise
map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat
mlock mlock2 mlockall mmap mprotect mq_getsetattr mq_notify mq_open mq_timedreceive
mq_timedsend mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock munlockall
munmap name_to_handle_at nanosleep newfstatat open openat openat2 pause pidfd_getfd
pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll prctl
pread64 preadv preadv2 prlimit64 process_madvise process_mrelease process_vm_readv
process_vm_writev pselect6 ptrace pwrite64 pwritev pwritev2 read readahead readlink
readlinkat readv recvfrom recvmmsg recvmsg remap_file_pages removexattr rename renameat
renameat2 restart_syscall riscv_flush_icache riscv_hwprobe rmdir rseq rt_sigaction
rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min sched_getaffinity
sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval sched_setaffinity
sched_setattr sched_setparam sched_setscheduler sched_yield seccomp select semctl semget
semop semtimedop sendfile sendmmsg sendmsg sendto set_robust_list set_thread_area
set_tid_address setfsgid setfsuid setgid setgroups setitimer setpgid setpriority setregid
setresgid setresuid setreuid setrlimit setsid setsockopt setuid setxattr shmat shmctl shmdt
shmget shutdown sigaltstack signalfd signalfd4 socket socketpair splice stat statfs statx
symlink symlinkat sync sync_file_range sync_file_range2 syncfs sysinfo tee tgkill time
timer_create timer_delete timer_getoverrun timer_gettime timer_settime timerfd_create
timerfd_gettime timerfd_settime times tkill truncate umask uname unlink unlinkat utime
utimensat utimes vfork wait4 waitid write writev
"""
ALLOWED = tuple(_ALLOWED.split())
"""Allowed, whatever the arguments, as far as the second filter has no rule for them."""

REFUSED = {
    "kernel keyrings": ("add_key", "keyctl", "request_key"),
    "mounting": ("mount", "umount2", "pivot_root", "chroot"),
    "namespaces": ("setns", "unshare"),
    "kernel code": (
        *("init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "bpf"),
    ),
    "watching other programs": (
        *("perf_event_open", "fanotify_init", "fanotify_mark", "lookup_dcookie", "syslog"),
    ),
    "files by number": ("open_by_handle_at",),
    "memory": (
        *("userfaultfd", "vmsplice", "modify_ldt", "mbind", "migrate_pages", "move_pages"),
        *("get_mempolicy", "set_mempolicy", "set_mempolicy_home_node"),
    ),
    "the machine": (
        *("reboot", "swapon", "swapoff", "acct", "quotactl", "quotactl_fd", "sethostname"),
        *("setdomainname", "settimeofday", "clock_settime", "iopl", "ioperm", "vhangup"),
        *("nfsservctl", "uselib", "ustat", "sysfs", "_sysctl"),
    ),
}
"""Answered with EPERM, by what they are about."""

ABSENT = (
    *("clone3", "io_uring_setup", "io_uring_enter", "io_uring_register"),
    *("open_tree", "move_mount", "fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr"),
    *("statmount", "listmount"),
)
"""The best known of what is not named above, and so answered with ENOSYS. clone3 because its
flags lie in memory, where no filter sees them; io_uring because what it does passes by filters."""

U32 = 0xFFFF_FFFF


class Equal(NamedTuple):
    """An argument, by its number, of which the bits in `mask` are `value`."""

    argument: int
    value: int
    mask: int


class AtLeast(NamedTuple):
    """An argument, by its number, that is `value` or more."""

    argument: int
    value: int


class Unlike(NamedTuple):
    """An argument, by its number, that is not `value`."""

    argument: int
    value: int


class Rule(NamedTuple):
    """A call that gets `errno` where all conditions hold (0: that is allowed)."""

    call: str
    conditions: tuple[Equal | AtLeast | Unlike, ...]
    errno: int


PERSONALITIES = (0, 0x0000_0008, 0x0002_0000, 0x0002_0008, 0x0004_0000, 0x0006_0000, U32)
"""Linux, with an old version number, in 32 bits, without random addresses; and the question."""

PERSONALITY_RULES = tuple(
    Rule("personality", (Equal(0, value, U32),), 0) for value in PERSONALITIES
)
"""Of the first filter."""

CLONE_FLAGS = {
    "CLONE_NEWNS": 0x0002_0000,
    "CLONE_NEWCGROUP": 0x0200_0000,
    "CLONE_NEWUTS": 0x0400_0000,
    "CLONE_NEWIPC": 0x0800_0000,
    "CLONE_NEWUSER": 0x1000_0000,
    "CLONE_NEWPID": 0x2000_0000,
    "CLONE_NEWNET": 0x4000_0000,
}
"""What clone may not be asked for."""

TERMINAL_REQUESTS = {"TIOCSTI": 0x5412, "TIOCLINUX": 0x541C}
"""What ioctl may not be asked for: both put characters where the terminal's reader finds them.
The kernel looks at the lower half of the argument only."""

FAMILIES = {"AF_UNSPEC": 0, "AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10, "AF_NETLINK": 16}
"""The sockets there are. Of netlink only addresses and routes, which getaddrinfo asks for."""

RAW_TYPES = {"SOCK_RAW": 3, "SOCK_PACKET": 10}
SOCK_TYPE_MASK = 0xF


def _argument_rules() -> tuple[Rule, ...]:
    rules = [Rule("clone", (Equal(0, flag, flag),), errno.EPERM) for flag in CLONE_FLAGS.values()]
    rules += [
        Rule("ioctl", (Equal(1, request, U32),), errno.EPERM)
        for request in TERMINAL_REQUESTS.values()
    ]
    last = max(FAMILIES.values())
    for call in ("socket", "socketpair"):
        rules.append(Rule(call, (AtLeast(0, last + 1),), errno.EAFNOSUPPORT))
        rules += [
            Rule(call, (Equal(0, family, U32),), errno.EAFNOSUPPORT)
            for family in range(last)
            if family not in FAMILIES.values()
        ]
    netlink = Equal(0, FAMILIES["AF_NETLINK"], U32)
    rules.append(Rule("socket", (netlink, Unlike(2, 0)), errno.EPROTONOSUPPORT))
    rules += [
        Rule("socket", (Equal(0, family, U32), Equal(1, kind, SOCK_TYPE_MASK)), errno.EPERM)
        for family in (FAMILIES["AF_INET"], FAMILIES["AF_INET6"])
        for kind in RAW_TYPES.values()
    ]
    return tuple(rules)


ARGUMENT_RULES = _argument_rules()
"""The second filter: what is refused for its arguments."""
