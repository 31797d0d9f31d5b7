/* A disk that can be frozen, for LD_PRELOAD: fsync does not return while the file $FROZEN_DISK exists. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

int fsync(int fd)
{
    const char *frozen = getenv("FROZEN_DISK");
    while (frozen && access(frozen, F_OK) == 0)
        usleep(1000);
    return (int)syscall(SYS_fsync, fd);
}
