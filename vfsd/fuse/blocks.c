/* Memory for what is about to be written, touched before it is asked for.
 *
 * Whoever writes much fills new memory, and the kernel clears each page of it as it is touched
 * first: more than half of the time that a write of 128 KiB takes, while its caller and everybody
 * else waits. So a few blocks of the size that such a write's `bytes` object needs are made ready
 * in the time in which the writer copies its next piece and the daemon would wait.
 *
 *   give  stands before Python's allocator of objects. It hands out a block that is ready to the
 *         object that pyfuse3 makes of a write request (shim.c says when), and leaves all else to
 *         the allocator, which a block comes from and goes back to.
 *   step  makes an eighth of a block ready: about 10 microseconds, after which the serving loop looks
 *         whether a request came. One block for each that was asked for, so there is nothing to
 *         do while nobody writes.
 *
 * Memory that was used before is not touched again: what is freed and allocated anew costs nothing.
 *
 * Concurrency: all of it holds the GIL. A Python without one does not enable it (shim.py).
 *
 * Source: the C API's "Memory Management" (declared here, since Python's headers need not be
 * there); madvise(2), mincore(2).
 */

#define _GNU_SOURCE

#include "shim.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#define DOMAIN_OBJECTS 2 /* PYMEM_DOMAIN_OBJ */
#define READY_LIMIT 4
#define STEP_PAGES 4

typedef struct {
	void *ctx;
	void *(*malloc)(void *ctx, size_t size);
	void *(*calloc)(void *ctx, size_t count, size_t size);
	void *(*realloc)(void *ctx, void *block, size_t size);
	void (*free)(void *ctx, void *block);
} PyMemAllocatorEx;

extern void PyMem_GetAllocator(int domain, PyMemAllocatorEx *allocator);
extern void PyMem_SetAllocator(int domain, PyMemAllocatorEx *allocator);

int vfsd_blocks_expected = 0;

/* Read from shim.py. */
uint64_t vfsd_blocks_given = 0;
uint64_t vfsd_blocks_touched = 0;

static PyMemAllocatorEx plain;
static size_t block_bytes;
static uintptr_t page_bytes;
static void *ready[READY_LIMIT];
static unsigned ready_count, owed;
static char *making; /* a block that is ready up to `made` */
static uintptr_t made;

static void *give(void *ctx, size_t size)
{
	if (!vfsd_blocks_expected || size != block_bytes)
		return plain.malloc(ctx, size);
	if (owed < READY_LIMIT)
		owed++;
	if (!ready_count)
		return plain.malloc(ctx, size);
	vfsd_blocks_given++;
	return ready[--ready_count];
}

/* Begin to give blocks for the largest write; `empty_bytes` is what an empty object takes. */
void vfsd_blocks_enable(size_t empty_bytes)
{
	PyMemAllocatorEx ours;

	if (block_bytes)
		return;
	PyMem_GetAllocator(DOMAIN_OBJECTS, &plain);
	ours = plain;
	ours.malloc = give;
	page_bytes = (uintptr_t)sysconf(_SC_PAGESIZE);
	block_bytes = empty_bytes + WRITE_LIMIT_BYTES;
	PyMem_SetAllocator(DOMAIN_OBJECTS, &ours);
}

static int was_used(uintptr_t page)
{
	unsigned char resident = 0;

	return mincore((void *)page, page_bytes, &resident) || (resident & 1);
}

/* Make a part of a block ready; 0 if there is nothing to do. */
int vfsd_blocks_step(void)
{
	uintptr_t end, stop;

	if (!making) {
		if (!owed || ready_count == READY_LIMIT) {
			owed = 0;
			return 0;
		}
		making = plain.malloc(plain.ctx, block_bytes);
		if (!making)
			return 0;
		made = ((uintptr_t)making + page_bytes - 1) & ~(page_bytes - 1);
	}
	end = ((uintptr_t)making + block_bytes) & ~(page_bytes - 1);
	stop = made + STEP_PAGES * page_bytes < end ? made + STEP_PAGES * page_bytes : end;
	/* An older kernel cannot: then the block is as good as any other. */
	if (was_used(made) || madvise((void *)made, stop - made, MADV_POPULATE_WRITE))
		stop = end;
	else
		vfsd_blocks_touched++;
	made = stop;
	if (made == end) {
		ready[ready_count++] = making;
		making = NULL;
		owed--;
	}
	return 1;
}
