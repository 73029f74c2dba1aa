/* What a hostile program tries, one attempt after the other; prints `name errno`, 0 where it
 * was let through. Each attempt is a real one: outside of the sandbox most of them succeed.
 * Attempts that could harm their own process are made in a child.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void said(const char *name, long result) {
    printf("%s %d\n", name, result < 0 ? errno : 0);
    fflush(stdout);
}

#define TRY(name, call) do { errno = 0; said(name, (long)(call)); } while (0)

/* The new process ends at once, so that it prints nothing twice. */
static long cloned(unsigned long flags) {
    long pid = syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0)
        _exit(0);
    if (pid > 0)
        waitpid(pid, NULL, __WALL);
    return pid;
}

static long forked(long (*attempt)(void)) {
    int status;
    pid_t pid = fork();
    if (pid == 0)
        _exit(attempt() < 0 ? errno : 0);
    waitpid(pid, &status, 0);
    errno = WIFEXITED(status) ? WEXITSTATUS(status) : 255;
    return errno ? -1 : 0;
}

static long unshare_user(void) { return unshare(CLONE_NEWUSER); }
static long unshare_mount(void) { return unshare(CLONE_NEWNS); }
static long traced(void) { return ptrace(PTRACE_TRACEME, 0, 0, 0); }
static long chrooted(void) { return chroot("/tmp"); }

/* Of another architecture: the kernel ends the process, so its death is what is told. */
static long i386_getpid(void) {
#ifdef __x86_64__
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(20) : "memory", "cc");
    return result;
#else
    errno = 255;
    return -1;
#endif
}

static long x32_getpid(void) {
#ifdef __x86_64__
    return syscall(0x40000000 + SYS_getpid);
#else
    errno = 255;
    return -1;
#endif
}

static long attached(pid_t pid) {
    long result = ptrace(PTRACE_ATTACH, pid, 0, 0);
    int kept = errno;
    if (result == 0) {
        waitpid(pid, NULL, __WALL);
        ptrace(PTRACE_DETACH, pid, 0, 0);
    }
    errno = kept;
    return result;
}

static long by_handle(const char *path) {
    struct { struct file_handle head; char rest[128]; } handle;
    int mount_id;
    handle.head.handle_bytes = sizeof handle.rest;
    if (name_to_handle_at(AT_FDCWD, path, &handle.head, &mount_id, 0) < 0) {
        /* No handle for this file system: the call itself still tells whether it is let through. */
        memset(&handle, 0, sizeof handle);
        handle.head.handle_bytes = 8;
    }
    return open_by_handle_at(AT_FDCWD, &handle.head, O_RDONLY);
}

int main(int count, char **words) {
    pid_t outside = count > 1 ? atoi(words[1]) : 1;
    char space[4096] = {0};

    TRY("add_key", syscall(SYS_add_key, "user", "vfsd-attempt", "x", 1, -2));
    TRY("keyctl", syscall(SYS_keyctl, 0 /* get keyring */, -3 /* session */, 0));
    TRY("request_key", syscall(SYS_request_key, "user", "vfsd-attempt", NULL, -3));

    TRY("mount tmpfs", syscall(SYS_mount, "tmpfs", "/tmp", "tmpfs", 0, NULL));
    TRY("remount /", syscall(SYS_mount, NULL, "/", NULL, 32 /* MS_REMOUNT */, NULL));
    TRY("remount /usr", syscall(SYS_mount, NULL, "/usr", NULL, 32 | 4096 /* and MS_BIND */, NULL));
    TRY("umount2", syscall(SYS_umount2, "/tmp", 2));
    TRY("pivot_root", syscall(SYS_pivot_root, "/tmp", "/tmp"));
    TRY("chroot", forked(chrooted));
    TRY("fsopen", syscall(430, "tmpfs", 0));
    TRY("open_tree", syscall(428, AT_FDCWD, "/", 1));
    TRY("move_mount", syscall(429, AT_FDCWD, "/usr", AT_FDCWD, "/tmp", 0));
    TRY("mount_setattr", syscall(442, AT_FDCWD, "/", 0, space, 32));

    TRY("unshare user", forked(unshare_user));
    TRY("unshare mount", forked(unshare_mount));
    TRY("setns", syscall(SYS_setns, open("/proc/self/ns/user", O_RDONLY), 0));
    TRY("clone user", cloned(CLONE_NEWUSER));
    TRY("clone net", cloned(CLONE_NEWNET));
    TRY("clone mount", cloned(CLONE_NEWNS));
    TRY("clone", cloned(0));
    TRY("clone3", syscall(435, space, 64));

    TRY("bpf", syscall(SYS_bpf, 0, space, 48));
    TRY("perf_event_open", syscall(SYS_perf_event_open, space, 0, -1, -1, 0));
    TRY("userfaultfd", syscall(SYS_userfaultfd, 1));
    TRY("io_uring_setup", syscall(425, 4, space));
    TRY("kexec_load", syscall(SYS_kexec_load, 0, 0, NULL, 0));
    TRY("init_module", syscall(SYS_init_module, space, 8, ""));
    TRY("finit_module", syscall(SYS_finit_module, 0, "", 0));
    TRY("delete_module", syscall(SYS_delete_module, "vfsd_none", 0));
    TRY("reboot", syscall(SYS_reboot, 0xfee1dead, 672274793, 0 /* CAD off */, NULL));
    TRY("swapon", syscall(SYS_swapon, "/tmp/none", 0));
    TRY("settimeofday", syscall(SYS_settimeofday, space, NULL));
    TRY("sethostname", syscall(SYS_sethostname, "x", 1));
    TRY("syslog", syscall(SYS_syslog, 3, space, 16));
    TRY("fanotify_init", syscall(SYS_fanotify_init, 0, 0));
    TRY("quotactl", syscall(SYS_quotactl, 0, "/dev/vda", 0, space));
    TRY("open_by_handle_at", by_handle("/usr"));
    TRY("newer than the list", syscall(9999));

    TRY("AF_INET", socket(AF_INET, SOCK_STREAM, 0));
    TRY("AF_INET6", socket(AF_INET6, SOCK_DGRAM, 0));
    TRY("AF_UNIX", socket(AF_UNIX, SOCK_SEQPACKET, 0));
    TRY("netlink route", socket(AF_NETLINK, SOCK_RAW, 0));
    TRY("netlink netfilter", socket(AF_NETLINK, SOCK_RAW, 12));
    TRY("netlink uevent", socket(AF_NETLINK, SOCK_RAW, 15));
    TRY("raw", socket(AF_INET, SOCK_RAW, 1));
    TRY("raw close-on-exec", socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, 1));
    TRY("raw 6", socket(AF_INET6, SOCK_RAW, 58));
    TRY("packet", socket(AF_PACKET, SOCK_RAW, 3));
    TRY("packet, older", socket(AF_INET, SOCK_PACKET, 3));
    TRY("AF_ALG", socket(AF_ALG, SOCK_SEQPACKET, 0));
    TRY("AF_VSOCK", socket(AF_VSOCK, SOCK_STREAM, 0));
    TRY("AF_KEY", socket(AF_KEY, SOCK_RAW, 2));
    TRY("AF_BLUETOOTH", socket(AF_BLUETOOTH, SOCK_RAW, 1));
    /* The kernel looks at 32 bits of the argument; so must the filter. */
    TRY("packet, high bits", syscall(SYS_socket, 0x100000000UL + AF_PACKET, SOCK_RAW, 3));
    TRY("AF_ALG, high bits", syscall(SYS_socket, 0x100000000UL + AF_ALG, SOCK_SEQPACKET, 0));

    TRY("TIOCSTI", ioctl(0, TIOCSTI, "x"));
    TRY("TIOCSTI, high bits", syscall(SYS_ioctl, 0, 0x100000000UL + TIOCSTI, "x"));
    TRY("TIOCLINUX", ioctl(0, TIOCLINUX, "\2"));
    TRY("FIONREAD", ioctl(fileno(popen("true", "r")), FIONREAD, space));

    TRY("personality, the question", personality(0xffffffff));
    TRY("personality, no random addresses", personality(ADDR_NO_RANDOMIZE));
    TRY("personality, readable is executable", personality(READ_IMPLIES_EXEC));
    TRY("ptrace of oneself", forked(traced));
    TRY("ptrace of outside", attached(outside));
    TRY("kill of outside", kill(outside, 0));
    TRY("pidfd of outside", syscall(SYS_pidfd_open, outside, 0));
    TRY("i386", forked(i386_getpid));
    TRY("x32", forked(x32_getpid));

    TRY("setuid", setuid(0));
    TRY("keep capabilities", prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, 21, 0, 0));
    TRY("new privileges again", prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0));
    TRY("device node", mknod("/tmp/device", S_IFCHR | 0600, 0x103));
    TRY("core pattern", open("/proc/sys/kernel/core_pattern", O_WRONLY));
    TRY("sysrq", open("/proc/sysrq-trigger", O_WRONLY));
    TRY("memory of the kernel", open("/proc/kcore", O_RDONLY));
    TRY("uid_map", open("/proc/self/uid_map", O_WRONLY));
    TRY("cgroup", open("/sys/fs/cgroup/cgroup.procs", O_WRONLY));
    TRY("memory of pid 1", open("/proc/1/mem", O_RDWR));
    TRY("root of pid 1", open("/proc/1/root/proc/1/root/etc/shadow", O_RDONLY));
    return 0;
}
