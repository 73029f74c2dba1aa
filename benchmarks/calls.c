/* Time one system call of each kind in the current directory; print "kind wall cpu", both in
 * nanoseconds per call. The argument is the serving daemon's process id, whose CPU time `cpu`
 * is; 0 without one.
 *
 * In C because a Python client's own overhead is as large as a call on tmpfs. calls.py
 * compiles it, runs it on each system in turn and makes the table.
 *
 * Each kind is arranged so that the kernel's caches cannot answer it: getattr asks for fresh
 * attributes (statx(2), AT_STATX_FORCE_SYNC), a negative lookup never repeats its name, reads
 * come from a file whose pages were just dropped (posix_fadvise(2), POSIX_FADV_DONTNEED).
 * Deleting what was made is a kind of its own, so that nothing is left.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { CALLS = 1000, LISTINGS = 20, BLOCK = 4096 };

static char block[BLOCK];
static int descriptors[CALLS];
static long generation;
static clockid_t daemon_clock;

static double now(clockid_t clock) {
    struct timespec time;
    if (clock_gettime(clock, &time) != 0) {
        return 0;
    }
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static void must(int ok, const char *what) {
    if (!ok) {
        fprintf(stderr, "calls: %s: %s\n", what, strerror(errno));
        exit(1);
    }
}

static const char *name(const char *stem, int number) {
    static char text[64];
    snprintf(text, sizeof text, "%s-%ld-%d", stem, generation, number);
    return text;
}

static void getattr_fresh(int number) {
    struct statx attributes;
    (void)number;
    must(statx(AT_FDCWD, "one", AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, &attributes) == 0, "statx");
}

static void stat_cached(int number) {
    struct stat attributes;
    (void)number;
    must(stat("one", &attributes) == 0, "stat");
}

static void lookup_negative(int number) {
    struct stat attributes;
    must(stat(name("absent", number), &attributes) != 0 && errno == ENOENT, "absent");
}

static void open_close(int number) {
    int descriptor = open("one", O_RDONLY);
    (void)number;
    must(descriptor >= 0, "open");
    close(descriptor);
}

static void create(int number) {
    descriptors[number] = open(name("file", number), O_CREAT | O_EXCL | O_WRONLY, 0644);
    must(descriptors[number] >= 0, "create");
}

static void close_created(int number) {
    close(descriptors[number]);
}

static void rename_file(int number) {
    char source[64];
    strcpy(source, name("file", number));
    must(rename(source, name("moved", number)) == 0, "rename");
}

static void unlink_file(int number) {
    must(unlink(name("moved", number)) == 0, "unlink");
}

static void make_directory(int number) {
    must(mkdir(name("directory", number), 0755) == 0, "mkdir");
}

static void remove_directory(int number) {
    must(rmdir(name("directory", number)) == 0, "rmdir");
}

static void write_block(int number) {
    must(pwrite(descriptors[0], block, BLOCK, (off_t)number * BLOCK) == BLOCK, "write");
}

static void read_block(int number) {
    must(pread(descriptors[0], block, BLOCK, (off_t)number * BLOCK) == BLOCK, "read");
}

static void list_directory(int number) {
    DIR *directory = opendir("thousand");
    int count = 0;
    (void)number;
    must(directory != NULL, "opendir");
    while (readdir(directory) != NULL) {
        count++;
    }
    closedir(directory);
    must(count == 1002, "readdir");
}

static void run(const char *kind, void (*call)(int), int calls) {
    double cpu = daemon_clock ? now(daemon_clock) : 0;
    double start = now(CLOCK_MONOTONIC);
    for (int number = 0; number < calls; number++) {
        call(number);
    }
    double wall = now(CLOCK_MONOTONIC) - start;
    if (daemon_clock) {
        cpu = now(daemon_clock) - cpu;
    }
    if (kind != NULL) {
        printf("%s %.1f %.1f\n", kind, wall / calls, cpu / calls);
    }
}

static void prepare(void) {
    struct rlimit limit = {CALLS + 64, CALLS + 64};
    struct rlimit given;
    getrlimit(RLIMIT_NOFILE, &given);
    if (given.rlim_cur < limit.rlim_cur) {
        must(setrlimit(RLIMIT_NOFILE, &limit) == 0, "more open files");
    }
    close(open("one", O_CREAT | O_WRONLY, 0644));
    if (mkdir("thousand", 0755) == 0) {
        char path[64];
        for (int number = 0; number < 1000; number++) {
            snprintf(path, sizeof path, "thousand/entry-%d", number);
            close(open(path, O_CREAT | O_WRONLY, 0644));
        }
    }
}

static void run_data(void) {
    descriptors[0] = open("data", O_CREAT | O_TRUNC | O_RDWR, 0644);
    must(descriptors[0] >= 0, "data");
    run("write-4k", write_block, CALLS);
    fsync(descriptors[0]);
    posix_fadvise(descriptors[0], 0, 0, POSIX_FADV_DONTNEED);
    posix_fadvise(descriptors[0], 0, 0, POSIX_FADV_RANDOM);
    run("read-4k", read_block, CALLS);
    close(descriptors[0]);
    unlink("data");
}

int main(int count, char **arguments) {
    generation = (long)getpid();
    if (count > 1 && atoi(arguments[1]) > 0) {
        must(clock_getcpuclockid(atoi(arguments[1]), &daemon_clock) == 0, "the daemon's clock");
    }
    prepare();
    run(NULL, getattr_fresh, 100); /* wakes both sides up */
    run("getattr", getattr_fresh, CALLS);
    run("stat-cached", stat_cached, CALLS);
    run("lookup-negative", lookup_negative, CALLS);
    run("open-close", open_close, CALLS);
    run("create", create, CALLS);
    run("close-created", close_created, CALLS);
    run("rename", rename_file, CALLS);
    run("unlink", unlink_file, CALLS);
    run("mkdir", make_directory, CALLS);
    run("rmdir", remove_directory, CALLS);
    run("readdir-1000", list_directory, LISTINGS);
    run_data();
    return 0;
}
