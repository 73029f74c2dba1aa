/* Opening a file, and saying which one that is, in one call; or a directory, and watching it.
 *
 * Names are one component each, as the caller checked (beneath.py); flags are the caller's, who
 * adds O_NOFOLLOW: what is opened lies in the very directory that the fd is.
 *
 * Source: open(2), openat2(2), name_to_handle_at(2), inotify(7).
 */

#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "record.h"

#ifndef SYS_openat2
#define SYS_openat2 437 /* everywhere */
#endif

struct how {
	uint64_t flags, mode, resolve;
};

/* Returns the new fd or -errno. */
int vfsd_open(int dirfd, const char *name, int flags, struct record *found)
{
	int fd, failure;

	do /* a signal's handler is Python's to call, once we are back */
		fd = openat(dirfd, name, flags);
	while (fd < 0 && errno == EINTR);
	if (fd < 0)
		return -errno;
	failure = vfsd_record_fd(found, fd);
	if (failure) {
		close(fd);
		return -failure;
	}
	return fd;
}

/* Returns the new fd or -errno, ESTALE if it is not that of `dev` and `ino`. The watch is one of
 * `inotify`, or -errno where it cannot be had. */
int vfsd_enter(int dirfd, const char *name, const struct how *how, uint64_t dev, uint64_t ino,
	       int inotify, uint32_t mask, int32_t *watch)
{
	struct stat stat;
	char path[32];
	int failure, fd = syscall(SYS_openat2, dirfd, name, how, sizeof(*how));

	if (fd < 0)
		return -errno;
	failure = fstat(fd, &stat) ? errno : 0;
	if (!failure && (stat.st_dev != dev || stat.st_ino != ino))
		failure = ESTALE;
	if (failure) {
		close(fd);
		return -failure;
	}
	/* The magic link leads to the open file itself: nothing is resolved again. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	*watch = inotify_add_watch(inotify, path, mask);
	if (*watch < 0)
		*watch = -errno;
	return fd;
}
