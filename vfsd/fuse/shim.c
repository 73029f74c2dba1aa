/* What pyfuse3 cannot say to libfuse, said between the two.
 *
 * Loaded before pyfuse3, with its symbols global, this library's fuse_session_new stands before
 * libfuse's: it puts two small functions before pyfuse3's own handlers and goes on to libfuse.
 *
 *   opendir  lets the kernel keep the listing (FOPEN_CACHE_DIR), where the attachment's changes
 *            are told: a warm listing then costs no readdir.
 *   statfs   notes for which inode room was asked; pyfuse3 drops it. Its handler runs right
 *            after, in the same step of the event loop, and reads the note.
 *
 * It is optional: without it the same handlers serve, with more requests (see shim.py).
 *
 * Source: libfuse 3.14 fuse_lowlevel.h; Linux fs/fuse/readdir.c; ld.so(8) on symbol order.
 */

#define _GNU_SOURCE
#define FUSE_USE_VERSION 35

#include <dlfcn.h>
#include <fuse_lowlevel.h>
#include <stdint.h>
#include <string.h>

#define ATTACHMENTS 32768 /* vfsd/tree.py: INDEX_LIMIT */
#define NUMBER_BITS 48    /* vfsd/contract.py: NUMBER_LIMIT */

/* Set from shim.py. */
int vfsd_shim_enabled = 0;
unsigned char vfsd_shim_keeps_listings[ATTACHMENTS];

/* Read from shim.py. */
int vfsd_shim_sessions = 0;
uint64_t vfsd_shim_statfs_inode = 0;

static struct fuse_lowlevel_ops theirs;

static void shim_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	uint64_t attachment = (uint64_t)ino >> NUMBER_BITS;

	if (attachment < ATTACHMENTS && vfsd_shim_keeps_listings[attachment]) {
		fi->cache_readdir = 1;
		fi->keep_cache = 1;
	}
	theirs.opendir(req, ino, fi);
}

static void shim_statfs(fuse_req_t req, fuse_ino_t ino)
{
	vfsd_shim_statfs_inode = ino;
	theirs.statfs(req, ino);
}

typedef struct fuse_session *new_session(struct fuse_args *, const struct fuse_lowlevel_ops *,
					 size_t, void *);

struct fuse_session *fuse_session_new(struct fuse_args *args, const struct fuse_lowlevel_ops *op,
				      size_t op_size, void *userdata)
{
	struct fuse_lowlevel_ops ours;
	void *libfuse = dlopen("libfuse3.so.3", RTLD_LAZY | RTLD_NOLOAD);
	new_session *next = libfuse ? (new_session *)dlsym(libfuse, "fuse_session_new") : NULL;

	if (!next)
		return NULL;
	if (!vfsd_shim_enabled || op_size > sizeof(ours) || !op->opendir || !op->statfs)
		return next(args, op, op_size, userdata);
	memset(&ours, 0, sizeof(ours));
	memcpy(&ours, op, op_size);
	theirs = ours;
	ours.opendir = shim_opendir;
	ours.statfs = shim_statfs;
	vfsd_shim_sessions++;
	return next(args, &ours, op_size, userdata);
}
