/* Opening a file, and saying which one that is, in one call.
 *
 * Names are one component each, as the caller checked (beneath.py); flags are the caller's, who
 * adds O_NOFOLLOW: what is opened lies in the very directory that the fd is.
 *
 * Source: open(2), name_to_handle_at(2).
 */

#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "record.h"

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
