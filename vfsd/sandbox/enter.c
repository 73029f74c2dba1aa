/* Makes the sandbox's own user and mount namespace, mounts the kernel's overlayfs in it, and
 * starts bwrap there, in its own place (no process stays between vfsd and bwrap).
 *
 *     _enter STATUS PLACE UPPER LOWER... -- PROGRAM [ARGUMENT...]
 *
 * PLACE   a directory. In it `tree` (the upper layer), `work`, and `merged`, where the overlay
 *         shows, are made if missing.
 * UPPER   "directory": in PLACE as it is. Else the options of a tmpfs, such as "size=1g", that
 *         is mounted on PLACE first; it is gone with the namespace.
 * LOWER   the layers below, topmost first. They are opened before PLACE is covered, so one of
 *         them can be PLACE itself, and are named by number, so no name needs to be escaped.
 *
 * On a failure it writes {"engine-step": N, "engine-errno": E } to the fd STATUS, which bwrap
 * would use next, and ends with 125. entering.py does the same where this was not compiled, and
 * tells in words what the steps are.
 *
 * The caller's uid and gid are mapped to themselves, not to 0: unless it is root, the caller has
 * no capability left when bwrap starts. For root all others are mapped as well, so that a file of
 * somebody else's can be copied up with its owner; nobody else may map those.
 *
 * What it is not: what the sandbox closes. That is bwrap's part, see spec.py.
 *
 * Sources: user_namespaces(7); Linux overlayfs.rst, "User xattr", "Volatile mount"; tmpfs(5).
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum step { NAMESPACE = 1, OPEN_LOWER, PLACE_TMPFS, MAKE_DIRECTORIES, MOUNT_OVERLAY, START };

/* The kernel takes a page of options; a lower is at most ":/proc/self/fd/1234567890". */
enum { OPTIONS_BYTES = 4096 };

static int status;

static void fail(enum step step)
{
    dprintf(status, "{ \"engine-step\": %d, \"engine-errno\": %d }\n", step, errno);
    _exit(125);
}

static void write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        fail(NAMESPACE);
    close(fd);
}

static void append(char *options, const char *format, ...)
{
    size_t used = strlen(options);
    va_list values;
    va_start(values, format);
    int wanted = vsnprintf(options + used, OPTIONS_BYTES - used, format, values);
    va_end(values);
    if (wanted < 0 || used + wanted >= OPTIONS_BYTES) {
        errno = E2BIG;
        fail(MOUNT_OVERLAY);
    }
}

/* All ids of the namespace that we are in, each to itself. */
static void map_all(const char *map, const char *target)
{
    char lines[OPTIONS_BYTES] = "";
    unsigned inside, outside, count;
    FILE *known = fopen(map, "re");
    while (known && fscanf(known, "%u %u %u", &inside, &outside, &count) == 3)
        append(lines, "%u %u %u\n", inside, inside, count);
    if (known)
        fclose(known);
    write_file(target, lines);
}

/* Only who is outside may map more than itself: a child stays there, and writes the maps. */
static void enter_as_root(void)
{
    int ready[2], outcome;
    char path[64], byte = 0;
    pid_t self = getpid();
    if (pipe2(ready, O_CLOEXEC))
        fail(NAMESPACE);
    pid_t mapper = fork();
    if (mapper < 0)
        fail(NAMESPACE);
    if (mapper == 0) {
        close(ready[1]);
        if (read(ready[0], &byte, 1) != 1)
            _exit(1);
        snprintf(path, sizeof path, "/proc/%d/uid_map", self);
        map_all("/proc/self/uid_map", path);
        snprintf(path, sizeof path, "/proc/%d/gid_map", self);
        map_all("/proc/self/gid_map", path);
        _exit(0);
    }
    close(ready[0]);
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS)) {
        int code = errno;
        close(ready[1]);
        waitpid(mapper, NULL, 0);
        errno = code;
        fail(NAMESPACE);
    }
    if (write(ready[1], &byte, 1) != 1)
        fail(NAMESPACE);
    close(ready[1]);
    if (waitpid(mapper, &outcome, 0) != mapper || outcome)
        _exit(125); /* it told why */
}

static void enter_as_user(unsigned uid, unsigned gid)
{
    char line[64];
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS))
        fail(NAMESPACE);
    write_file("/proc/self/setgroups", "deny");
    snprintf(line, sizeof line, "%u %u 1\n", uid, uid);
    write_file("/proc/self/uid_map", line);
    snprintf(line, sizeof line, "%u %u 1\n", gid, gid);
    write_file("/proc/self/gid_map", line);
}

static void make(const char *name)
{
    if (mkdir(name, 0755) && errno != EEXIST)
        fail(MAKE_DIRECTORIES);
}

int main(int argc, char **argv)
{
    if (argc < 7)
        return 125;
    status = atoi(argv[1]);
    const char *place = argv[2], *upper = argv[3];
    int in_directory = !strcmp(upper, "directory");
    char options[OPTIONS_BYTES] = "upperdir=tree,workdir=work,userxattr";
    if (in_directory)
        /* Otherwise the end of the mount would wait for all of the disk to be written. */
        append(options, ",volatile");

    if (geteuid() == 0)
        enter_as_root();
    else
        enter_as_user(geteuid(), getegid());
    struct stat below;
    int at = 4, first = -1;
    for (; at < argc && strcmp(argv[at], "--"); at++) {
        int fd = open(argv[at], O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
            fail(OPEN_LOWER);
        append(options, first < 0 ? ",lowerdir=/proc/self/fd/%d" : ":/proc/self/fd/%d", fd);
        if (first < 0)
            first = fd;
    }
    if (first < 0 || at + 1 >= argc)
        return 125;

    if (!in_directory && mount("tmpfs", place, "tmpfs", MS_NOSUID | MS_NODEV, upper))
        fail(PLACE_TMPFS);
    if (fstat(first, &below) || chdir(place))
        fail(MAKE_DIRECTORIES);
    int made = mkdir("tree", 0755) == 0;
    make("tree");
    make("work");
    make("merged");
    /* The root directory that shows is the upper's. */
    struct timespec times[2] = {below.st_atim, below.st_mtim};
    if (made && (chmod("tree", below.st_mode & 07777) || utimensat(AT_FDCWD, "tree", times, 0)))
        fail(MAKE_DIRECTORIES);
    if (mount("overlay", "merged", "overlay", MS_NOSUID | MS_NODEV, options))
        fail(MOUNT_OVERLAY);
    if (chdir("/"))
        fail(MAKE_DIRECTORIES);

    char **words = argv + at + 1;
    const char *program = words[0], *slash = strrchr(program, '/');
    /* Where it lies is not told: /proc/1/cmdline is seen inside. */
    words[0] = (char *)(slash ? slash + 1 : program);
    execv(program, words);
    fail(START);
}
