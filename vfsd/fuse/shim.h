/* What the files of this library know of each other. */

#include <stdint.h>

#define WRITE_LIMIT_BYTES (128U << 10) /* how long a write can be */

/* blocks.c: set while the object for what is written is made. */
extern int vfsd_blocks_expected;

/* endings.c: true if the last listing of the directory ended there. */
int vfsd_is_ending(uint64_t inode, int64_t position);
