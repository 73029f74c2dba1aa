/* What shim.c and blocks.c both know: how long a write can be, and that the object of one is made. */

#define WRITE_LIMIT_BYTES (128U << 10)

extern int vfsd_blocks_expected;
