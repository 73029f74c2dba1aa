/* Where listings end: the kernel always asks once more, and is answered here.
 *
 * Each listing of a directory takes two requests, and of those that list a small one the second is
 * half. Whoever gave the last name notes the position after it (shim.py); a request for just that
 * is answered with nothing. A listing that starts anew drops the note, since positions of one that
 * changed may come again.
 *
 * Notes are kept by the inode's number, one in each slot; what was lost is answered by the handler.
 *
 * Concurrency: the event loop's thread, in which libfuse calls as well.
 */

#include "shim.h"

#define SLOT_BITS 8

static struct {
	uint64_t inode;
	int64_t position;
} endings[1 << SLOT_BITS];

static unsigned slot_of(uint64_t inode)
{
	return inode * 0x9E3779B97F4A7C15U >> (64 - SLOT_BITS);
}

void vfsd_note_ending(uint64_t inode, int64_t position)
{
	unsigned slot = slot_of(inode);

	endings[slot].inode = inode;
	endings[slot].position = position;
}

int vfsd_is_ending(uint64_t inode, int64_t position)
{
	unsigned slot = slot_of(inode);

	if (endings[slot].inode != inode)
		return 0;
	if (!position)
		endings[slot].inode = 0;
	return position && endings[slot].position == position;
}
