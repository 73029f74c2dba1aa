/* Many clients at a time: PROCESSES of one KIND work for MILLISECONDS in the current directory.
 *
 *   stat   statx of "." that the kernel may not answer itself (AT_STATX_FORCE_SYNC)
 *   read   4 KiB at random places of a file of its own, past the kernel's cache (O_DIRECT)
 *   write  4 KiB at random places of a file of its own
 *   make   mkdir and rmdir of one name: both of them are one call here
 *   big    1 MiB after the other into one file, which is cut at 1 GiB
 *
 * They begin together, once each of them has its file.
 *
 * Prints: calls in all, the fewest and the most that one process made, and of one call the
 * median, the 99th percentile and the longest, in microseconds. Buckets of a sixteenth of a power
 * of two: at most 6 % too high.
 */

#define _GNU_SOURCE

#include <err.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PIECE 4096
#define OWN (1 << 20)
#define CHUNK (1 << 20)
#define BIG (1ULL << 30)
#define BUCKETS 1024
#define PROCESSES 256

struct shared {
	uint64_t buckets[PROCESSES][BUCKETS];
	uint64_t calls[PROCESSES];
	uint64_t longest[PROCESSES];
	uint64_t end;
	unsigned ready; /* processes that wait for `end` to be set */
};

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000ULL + (uint64_t)time.tv_nsec;
}

static unsigned bucket_of(uint64_t ns)
{
	unsigned shift = 0;

	while (ns >> shift > 31)
		shift++;
	return shift * 32 + (unsigned)(ns >> shift);
}

static double top_of(unsigned bucket)
{
	return (double)(((uint64_t)(bucket % 32 + 1) << bucket / 32) - 1) / 1000;
}

static void pause_briefly(void)
{
	struct timespec time = { .tv_nsec = 1000000 };

	nanosleep(&time, NULL);
}

static void work(const char *kind, int number, struct shared *shared)
{
	static char buffer[CHUNK] __attribute__((aligned(PIECE)));
	uint64_t offset = 0, start, took, end;
	struct statx found;
	char name[32];
	int fd = -1;

	srandom((unsigned)number);
	memset(buffer, 'x', sizeof(buffer));
	snprintf(name, sizeof(name), "load-%s-%d", kind, number);
	if (*kind != 's' && *kind != 'm') {
		fd = open(name, O_RDWR | O_CREAT | (*kind == 'r' ? O_DIRECT : 0), 0644);
		if (fd < 0 || (*kind != 'b' && pwrite(fd, buffer, OWN, 0) != OWN))
			err(1, "%s", name);
	}
	__atomic_add_fetch(&shared->ready, 1, __ATOMIC_RELEASE);
	while (!(end = __atomic_load_n(&shared->end, __ATOMIC_ACQUIRE)))
		pause_briefly();
	while ((start = now()) < end) {
		ssize_t done = 0, wanted = strchr("sm", *kind) ? 0 : *kind == 'b' ? CHUNK : PIECE;
		off_t at = (off_t)(random() % (OWN / PIECE)) * PIECE;

		if (*kind == 's')
			done = statx(AT_FDCWD, ".", AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, &found);
		else if (*kind == 'm')
			done = mkdir(name, 0755) || rmdir(name) ? -1 : 0;
		else if (*kind == 'r')
			done = pread(fd, buffer, PIECE, at);
		else if (*kind == 'w')
			done = pwrite(fd, buffer, PIECE, at);
		else
			done = pwrite(fd, buffer, CHUNK, (off_t)offset);
		if (done != wanted)
			err(1, "%s", kind);
		offset = (offset + CHUNK) % BIG;
		took = now() - start;
		shared->buckets[number][bucket_of(took)]++;
		shared->calls[number]++;
		if (took > shared->longest[number])
			shared->longest[number] = took;
	}
	if (fd >= 0)
		unlink(name);
}

static double percentile(struct shared *shared, int processes, uint64_t all, int percent)
{
	uint64_t seen = 0;

	for (unsigned bucket = 0; bucket < BUCKETS; bucket++) {
		for (int each = 0; each < processes; each++)
			seen += shared->buckets[each][bucket];
		if (seen && seen * 100 >= all * (uint64_t)percent)
			return top_of(bucket);
	}
	return 0;
}

int main(int argc, char **argv)
{
	int processes = argc == 4 ? atoi(argv[2]) : 0, status, failed = 0;
	uint64_t all = 0, fewest = UINT64_MAX, most = 0, longest = 0;
	struct shared *shared;

	if (processes < 1 || processes > PROCESSES)
		errx(2, "usage: load stat|read|write|make|big PROCESSES MILLISECONDS");
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		err(1, "mmap");
	for (int each = 0; each < processes; each++) {
		pid_t pid = fork();

		if (pid < 0)
			err(1, "fork");
		if (!pid) {
			work(argv[1], each, shared);
			return 0;
		}
	}
	/* One that fails before it is ready ends the rest by their time, which begins without it. */
	while (__atomic_load_n(&shared->ready, __ATOMIC_ACQUIRE) < (unsigned)processes &&
	       waitpid(-1, &status, WNOHANG) == 0)
		pause_briefly();
	failed = __atomic_load_n(&shared->ready, __ATOMIC_ACQUIRE) < (unsigned)processes;
	__atomic_store_n(&shared->end, now() + (uint64_t)atoi(argv[3]) * 1000000ULL,
			 __ATOMIC_RELEASE);
	while (wait(&status) > 0)
		failed |= status;
	for (int each = 0; each < processes; each++) {
		all += shared->calls[each];
		fewest = shared->calls[each] < fewest ? shared->calls[each] : fewest;
		most = shared->calls[each] > most ? shared->calls[each] : most;
		longest = shared->longest[each] > longest ? shared->longest[each] : longest;
	}
	printf("%lu %lu %lu %.1f %.1f %.1f\n", all, fewest, most,
	       percentile(shared, processes, all, 50), percentile(shared, processes, all, 99),
	       (double)longest / 1000);
	return failed != 0;
}
