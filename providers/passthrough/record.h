/* What is told of one file, to Python: looking.py has the same layout.
 *
 * The functions stand in looking.c. Any thread may call them.
 */

#ifndef VFSD_RECORD_H
#define VFSD_RECORD_H

#include <stdint.h>
#include <sys/stat.h>

#define MARK_BYTES 48
#define MARK_ELSEWHERE UINT32_MAX /* it is longer than that: to be asked for by itself */

struct record {
	uint64_t dev, ino;
	int64_t mode, nlink, uid, gid;
	uint64_t rdev;
	int64_t size, blocks, atime_ns, mtime_ns, ctime_ns, block_size;
	int32_t error;
	uint32_t mark_length;
	unsigned char mark[MARK_BYTES];
};

/* Sets all but the mark, which is none then. */
void vfsd_record_stat(struct record *found, const struct stat *stat);

/* The file system's own handle: its type, then its bytes; none where it has none. Flags as those
 * of name_to_handle_at(2). What fails is noted as the record's error. */
void vfsd_record_mark(struct record *found, int dirfd, const char *name, int flags);

/* All of the file open as `fd`; returns 0 or the error of fstat(2). */
int vfsd_record_fd(struct record *found, int fd);

#endif
