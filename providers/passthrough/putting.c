/* A whole file, made beside and renamed into place, in one call: what copies.py tells of.
 *
 * Names are one component each, as the caller checked (beneath.py), in directories that are open.
 * The order is what a crash is safe by: the file has all that is its own before it has its name.
 *
 * Source: open(2), xattr(7), utimensat(2), renameat2(2).
 */

#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "record.h"

struct wanted {
	int64_t size, atime_ns, mtime_ns;
	uint32_t mode, uid, gid, xattrs;
};

/* One of the extended attributes behind that: its name, a NUL and its value follow. */
struct xattr {
	uint32_t name_length, length;
};

static struct timespec timespec_of(int64_t nanoseconds)
{
	int64_t rest = nanoseconds % 1000000000;

	if (rest < 0) /* before 1970: the fraction counts upwards all the same */
		rest += 1000000000;
	return (struct timespec){(nanoseconds - rest) / 1000000000, rest};
}

static int set_xattrs(int fd, uint32_t count, const char *next)
{
	for (; count; count--) {
		struct xattr each;
		const char *name = next + sizeof(each);
		const char *value;

		memcpy(&each, next, sizeof(each));
		value = name + each.name_length + 1;
		if (fsetxattr(fd, name, value, each.length, 0))
			return errno;
		next = value + each.length;
	}
	return 0;
}

/* Gives the new file its content and attributes; EPERM if it is not its owner's. */
static int fill(int fd, const struct wanted *wanted, const char *xattrs, const char *data,
		struct record *found)
{
	struct timespec times[] = {timespec_of(wanted->atime_ns), timespec_of(wanted->mtime_ns)};
	struct stat made;
	int failure;

	if (wanted->size) {
		ssize_t written = pwrite(fd, data, wanted->size, 0);

		if (written != wanted->size)
			return written < 0 ? errno : ENOSPC;
	}
	failure = set_xattrs(fd, wanted->xattrs, xattrs);
	if (failure)
		return failure;
	if (futimens(fd, times) || fstat(fd, &made))
		return errno;
	if (made.st_uid != wanted->uid || made.st_gid != wanted->gid)
		return EPERM;
	/* Last: writing takes setuid and setgid away. */
	if (made.st_mode != wanted->mode)
		if (fchmod(fd, wanted->mode & 07777) || fstat(fd, &made))
			return errno;
	vfsd_record_stat(found, &made);
	vfsd_record_mark(found, fd, "", AT_EMPTY_PATH);
	return found->error;
}

/* Sets a directory's times to what they were; that it fails is no failure. */
static void restore_times(int directory, const struct stat *before)
{
	struct timespec times[] = {before->st_atim, before->st_mtim};
	char path[32];

	/* It is of O_PATH, which this takes since Linux 5.8; the magic link leads to the same. */
	if (utimensat(directory, "", times, AT_EMPTY_PATH)) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", directory);
		(void)utimensat(AT_FDCWD, path, times, 0);
	}
}

/* Returns an fd of the new file, or -errno, with nothing left behind. The data is `wanted.size`
 * bytes. */
int vfsd_put(int beside, const char *spare, int directory, const char *name, int flags,
	     const struct wanted *wanted, const char *data, struct record *found)
{
	struct stat before;
	int failure, fd = openat(beside, spare, flags, wanted->mode & 0777);

	if (fd < 0)
		return -errno;
	failure = fill(fd, wanted, (const char *)(wanted + 1), data, found);
	if (!failure && (fstat(directory, &before) ||
			 renameat2(beside, spare, directory, name, RENAME_NOREPLACE)))
		failure = errno;
	if (failure) {
		unlinkat(beside, spare, 0);
		close(fd);
		return -failure;
	}
	restore_times(directory, &before);
	return fd;
}
