/* What pyfuse3 cannot say to libfuse, said between the two.
 *
 * Loaded before pyfuse3, with its symbols global, this library's fuse_session_new and
 * fuse_session_mount stand before libfuse's and go on to them.
 *
 *   opendir  is answered with ENOSYS, after which the kernel opens directories by itself, and
 *            keeps their listings: a warm listing costs nothing. readdir and fsyncdir then come
 *            without a handle, and are given the inode as theirs. That a listing has ended is
 *            answered here (endings.c).
 *   statfs   notes for which inode room was asked; pyfuse3 drops it. Its handler runs right
 *            after, in the same step of the event loop, and reads the note.
 *   write    notes whether the kernel writes back pages of its cache, which were changed through
 *            mmap, rather than what somebody writes; pyfuse3 drops that as well. The kernel sends
 *            them by any handle that writes, one that appends included. The object for what is
 *            written gets memory that was made ready before (blocks.c).
 *   read     is one plain read for each request; libfuse would splice it into a pipe and read
 *            it from there, for pyfuse3 to copy it all the same. It notes whose request it is,
 *            which pyfuse3 tells for some kinds only.
 *   writev   adds what libfuse 3.14 does not offer to the reply to FUSE_INIT, if the kernel does.
 *            KILLPRIV_V2: providers clear setuid, setgid and security.capability themselves, so
 *            the kernel asks neither for the mode before each chown nor for the capability
 *            before each further write. PARALLEL_DIROPS: a slow lookup does not hold up others
 *            in its directory. CACHE_SYMLINKS: a symlink is read once. And it asks for writes of
 *            at most 128 KiB, since requests are served one after the other: who asks for
 *            something small then waits for a piece of another's large write, not for 1 MiB of
 *            it, and a byte written costs the same.
 *
 * It is optional: without it the same handlers serve, with more requests (see shim.py).
 *
 * Source: libfuse 3.14 fuse_lowlevel.h; Linux fs/fuse/{dir,file,readdir}.c and
 * include/uapi/linux/fuse.h; ld.so(8) on symbol order.
 */

#define _GNU_SOURCE
#define FUSE_USE_VERSION 35

#include "shim.h"

#include <dlfcn.h>
#include <errno.h>
#include <fuse_lowlevel.h>
#include <linux/fuse.h>
#include <stdint.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define BY_INODE (1ULL << 63) /* vfsd/fuse/directories.py */

/* Set from shim.py. */
int vfsd_shim_enabled = 0;

/* Read from shim.py. */
int vfsd_shim_sessions = 0;
uint64_t vfsd_shim_statfs_inode = 0;
int vfsd_shim_writes_back = 0;
uint32_t vfsd_shim_caller = 0;
uint32_t vfsd_shim_protocol = 0; /* the kernel's, 7.this; 0 before it said so */

static struct fuse_lowlevel_ops theirs;
static int no_opendir; /* The kernel can open directories by itself. */

static void shim_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	if (no_opendir)
		fuse_reply_err(req, ENOSYS);
	else
		theirs.opendir(req, ino, fi);
}

static void shim_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
			     struct fuse_file_info *fi)
{
	if (no_opendir) {
		if (vfsd_is_ending(ino, offset)) {
			fuse_reply_buf(req, NULL, 0);
			return;
		}
		fi->fh = BY_INODE | ino;
	}
	theirs.readdirplus(req, ino, size, offset, fi);
}

static void shim_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	if (no_opendir)
		fi->fh = BY_INODE | ino;
	theirs.fsyncdir(req, ino, datasync, fi);
}

static void shim_statfs(fuse_req_t req, fuse_ino_t ino)
{
	vfsd_shim_statfs_inode = ino;
	theirs.statfs(req, ino);
}

static void shim_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t offset,
		       struct fuse_file_info *fi)
{
	vfsd_shim_writes_back = fi->writepage;
	vfsd_blocks_expected = 1;
	theirs.write(req, ino, data, size, offset, fi);
	vfsd_blocks_expected = 0;
}

static void shim_write_buf(fuse_req_t req, fuse_ino_t ino, struct fuse_bufvec *data, off_t offset,
			   struct fuse_file_info *fi)
{
	vfsd_shim_writes_back = fi->writepage;
	vfsd_blocks_expected = 1;
	theirs.write_buf(req, ino, data, offset, fi);
	vfsd_blocks_expected = 0;
}

#define ADDED (FUSE_HANDLE_KILLPRIV_V2 | FUSE_PARALLEL_DIROPS | FUSE_CACHE_SYMLINKS)

/* The FUSE_INIT request that waits for its reply, and what we add to it. */
static uint64_t init_unique;
static uint32_t init_flags;

static ssize_t shim_read(int fd, void *buffer, size_t size, void *userdata)
{
	ssize_t count = read(fd, buffer, size);
	const struct fuse_in_header *header = buffer;
	const struct fuse_init_in *init = (const void *)(header + 1);

	(void)userdata;
	if (count >= (ssize_t)sizeof(*header))
		vfsd_shim_caller = header->pid;
	if (count >= (ssize_t)(sizeof(*header) + sizeof(init->major) * 4) &&
	    header->opcode == FUSE_INIT) {
		init_unique = header->unique;
		init_flags = init->flags & ADDED;
		no_opendir = (init->flags & FUSE_NO_OPENDIR_SUPPORT) != 0;
		vfsd_shim_protocol = init->minor;
	}
	return count;
}

static ssize_t shim_writev(int fd, struct iovec *iov, int count, void *userdata)
{
	const struct fuse_out_header *header = iov[0].iov_base;

	(void)userdata;
	if (init_unique && count > 1 && header->unique == init_unique) {
		struct fuse_init_out *reply = iov[1].iov_base;

		if (!header->error && iov[1].iov_len >= sizeof(reply->major) * 6) {
			reply->flags |= init_flags;
			if (reply->max_write > WRITE_LIMIT_BYTES)
				reply->max_write = WRITE_LIMIT_BYTES;
		}
		init_unique = 0;
	}
	return writev(fd, iov, count);
}

static void *of_libfuse(const char *name)
{
	void *libfuse = dlopen("libfuse3.so.3", RTLD_LAZY | RTLD_NOLOAD);

	return libfuse ? dlsym(libfuse, name) : NULL;
}

struct fuse_session *fuse_session_new(struct fuse_args *args, const struct fuse_lowlevel_ops *op,
				      size_t op_size, void *userdata)
{
	struct fuse_session *(*next)(struct fuse_args *, const struct fuse_lowlevel_ops *, size_t,
				     void *) = of_libfuse("fuse_session_new");
	struct fuse_lowlevel_ops ours;

	if (!next)
		return NULL;
	if (!vfsd_shim_enabled || op_size > sizeof(ours) || !op->opendir || !op->readdirplus ||
	    !op->fsyncdir || !op->statfs)
		return next(args, op, op_size, userdata);
	memset(&ours, 0, sizeof(ours));
	memcpy(&ours, op, op_size);
	theirs = ours;
	ours.opendir = shim_opendir;
	ours.readdirplus = shim_readdirplus;
	ours.fsyncdir = shim_fsyncdir;
	ours.statfs = shim_statfs;
	if (op->write)
		ours.write = shim_write;
	if (op->write_buf)
		ours.write_buf = shim_write_buf;
	vfsd_shim_sessions++;
	return next(args, &ours, op_size, userdata);
}

int fuse_session_mount(struct fuse_session *session, const char *mountpoint)
{
	static const struct fuse_custom_io io = { .writev = shim_writev, .read = shim_read };
	int (*next)(struct fuse_session *, const char *) = of_libfuse("fuse_session_mount");
	int result;

	if (!next)
		return -1;
	result = next(session, mountpoint);
	if (result == 0 && vfsd_shim_sessions)
		/* If it cannot, libfuse reads and writes as ever. */
		fuse_session_custom_io(session, &io, fuse_session_fd(session));
	return result;
}
