/* Put before providers/passthrough/putting.c: one of the system calls of each file that is put fails,
 * or is where the process dies. native.py says which.
 */

#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

extern int vfsd_fails_at, vfsd_dies, vfsd_calls, vfsd_met;

static inline int vfsd_fault(void)
{
	if (++vfsd_calls != vfsd_fails_at)
		return 0;
	vfsd_met++;
	if (vfsd_dies)
		kill(getpid(), SIGKILL);
	errno = ENOSPC;
	return 1;
}

/* The first of them. */
#define openat(...) (vfsd_calls = 0, vfsd_fault() ? -1 : openat(__VA_ARGS__))
#define pwrite(...) (vfsd_fault() ? -1 : pwrite(__VA_ARGS__))
#define fsetxattr(...) (vfsd_fault() ? -1 : fsetxattr(__VA_ARGS__))
#define futimens(...) (vfsd_fault() ? -1 : futimens(__VA_ARGS__))
#define fstat(...) (vfsd_fault() ? -1 : fstat(__VA_ARGS__))
#define fchmod(...) (vfsd_fault() ? -1 : fchmod(__VA_ARGS__))
#define renameat2(...) (vfsd_fault() ? -1 : renameat2(__VA_ARGS__))
#define utimensat(...) (vfsd_fault() ? -1 : utimensat(__VA_ARGS__))
