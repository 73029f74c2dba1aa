/* Looking at names of one directory, many in one call, and listing them.
 *
 *   vfsd_look        what fstatat(2) and name_to_handle_at(2) tell of a name, which is not followed
 *                    if it is a symlink; as a record.
 *   vfsd_look_many   the same of many names, as an array of records.
 *   vfsd_list        the names in a directory, each ended by a NUL.
 *
 * Names are one component each, as the caller checked (beneath.py): what is seen lies in the very
 * directory that the fd is. Nothing is kept between calls, and any thread may call.
 *
 * It is optional: without it the same calls are made one by one (see looking.py, which has the
 * layout of a record as well).
 *
 * Source: stat(2), name_to_handle_at(2), getdents64(2).
 */

#define _GNU_SOURCE

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "record.h"

#define HANDLE_BYTES_MAX 128

struct name {
	uint64_t ino;
	int64_t offset;
	uint16_t length;
	uint8_t type;
	char text[];
};

static int64_t nanoseconds(struct timespec when)
{
	return (int64_t)when.tv_sec * 1000000000 + when.tv_nsec;
}

void vfsd_record_stat(struct record *found, const struct stat *stat)
{
	found->error = 0;
	found->mark_length = 0;
	found->dev = stat->st_dev;
	found->ino = stat->st_ino;
	found->mode = stat->st_mode;
	found->nlink = stat->st_nlink;
	found->uid = stat->st_uid;
	found->gid = stat->st_gid;
	found->rdev = stat->st_rdev;
	found->size = stat->st_size;
	found->blocks = stat->st_blocks;
	found->atime_ns = nanoseconds(stat->st_atim);
	found->mtime_ns = nanoseconds(stat->st_mtim);
	found->ctime_ns = nanoseconds(stat->st_ctim);
	found->block_size = stat->st_blksize;
}

void vfsd_record_mark(struct record *found, int dirfd, const char *name, int flags)
{
	union {
		struct file_handle handle;
		char room[sizeof(struct file_handle) + HANDLE_BYTES_MAX];
	} buffer;
	size_t length;
	int mount_id;

	buffer.handle.handle_bytes = HANDLE_BYTES_MAX;
	if (name_to_handle_at(dirfd, name, &buffer.handle, &mount_id, flags)) {
		if (errno != EOPNOTSUPP && errno != EOVERFLOW && errno != ENOSYS &&
		    errno != EPERM && errno != EINVAL)
			found->error = errno;
		return;
	}
	length = sizeof(buffer.handle.handle_type) + buffer.handle.handle_bytes;
	if (length > MARK_BYTES) {
		found->mark_length = MARK_ELSEWHERE;
		return;
	}
	found->mark_length = length;
	memcpy(found->mark, &buffer.handle.handle_type, sizeof(buffer.handle.handle_type));
	memcpy(found->mark + sizeof(buffer.handle.handle_type), buffer.handle.f_handle,
	       buffer.handle.handle_bytes);
}

int vfsd_record_fd(struct record *found, int fd)
{
	struct stat stat;

	if (fstat(fd, &stat))
		return errno;
	vfsd_record_stat(found, &stat);
	vfsd_record_mark(found, fd, "", AT_EMPTY_PATH);
	return 0;
}

/* Returns 0 or an error, which is the record's as well. */
int vfsd_look(int dirfd, const char *name, struct record *found)
{
	struct stat stat;

	if (fstatat(dirfd, name, &stat, AT_SYMLINK_NOFOLLOW)) {
		found->mark_length = 0;
		return found->error = errno;
	}
	vfsd_record_stat(found, &stat);
	vfsd_record_mark(found, dirfd, name, 0);
	return found->error;
}

void vfsd_look_many(int dirfd, const char *names, uint32_t count, struct record *found)
{
	for (; count; count--, found++, names += strlen(names) + 1)
		vfsd_look(dirfd, names, found);
}

/* Returns how many bytes of names there are, -errno, or -ERANGE where `size` is too small. */
int64_t vfsd_list(int dirfd, char *names, uint64_t size)
{
	_Alignas(struct name) char page[32768];
	uint64_t length = 0;
	ssize_t count, at;
	int64_t failure;
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	while ((count = syscall(SYS_getdents64, fd, page, sizeof(page))) > 0) {
		for (at = 0; at < count;) {
			const struct name *each = (const void *)(page + at);
			size_t needed = strlen(each->text) + 1;

			at += each->length;
			if (!strcmp(each->text, ".") || !strcmp(each->text, ".."))
				continue;
			if (length + needed > size) {
				close(fd);
				return -ERANGE;
			}
			memcpy(names + length, each->text, needed);
			length += needed;
		}
	}
	/* A directory that was removed while it is open lists nothing, as with readdir(3). */
	failure = count < 0 && errno != ENOENT ? -errno : 0;
	close(fd);
	return failure ? failure : (int64_t)length;
}
