/* Prints the nanoseconds of one poll(2) of a pipe that holds data: what any serving loop pays. */

#include <poll.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define CALLS 1000000

int main(void)
{
	struct timespec start, end;
	int pipes[2];

	if (pipe(pipes) || write(pipes[1], "x", 1) != 1)
		return 1;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start);
	for (int call = 0; call < CALLS; call++) {
		struct pollfd one = { .fd = pipes[0], .events = POLLIN };

		if (poll(&one, 1, 0) != 1)
			return 1;
	}
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
	printf("%.1f\n", ((double)(end.tv_sec - start.tv_sec) * 1e9 +
			  (double)(end.tv_nsec - start.tv_nsec)) / CALLS);
	return 0;
}
