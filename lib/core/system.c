/* The few questions that go to the operating system, in one place for whoever ports the library. */
#include "core/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

int64_t rlhfi_process_id(void)
{
    return (int64_t)getpid();
}

/* strerror_r comes in two kinds: GNU returns the text, POSIX fills the buffer. */
static const char *describe_error(int number, char *buffer, size_t capacity)
{
#if defined(__GLIBC__)
    return strerror_r(number, buffer, capacity);
#else
    return strerror_r(number, buffer, capacity) == 0 ? buffer : "unknown error";
#endif
}

rlhf_status rlhfi_system_fail(rlhf_context *context, const char *path, const char *action, int number)
{
    char buffer[128];

    if (number == ENOMEM)
        return rlhfi_out_of_memory(context);
    return rlhfi_fail(context, RLHF_E_IO, "%s: %s: %s", path, action, describe_error(number, buffer, sizeof buffer));
}

int rlhfi_system_write(int descriptor, const void *bytes, size_t count)
{
    const char *next = bytes;

    while (count > 0) {
        /* Linux writes at most 2 GiB at once, and macOS refuses more. */
        size_t piece = count < ((size_t)1 << 30) ? count : (size_t)1 << 30;
        ssize_t written = write(descriptor, next, piece);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return written < 0 ? errno : EIO;
        next += written;
        count -= (size_t)written;
    }
    return 0;
}

int rlhfi_system_sync_parent(const char *path)
{
    char parent[4096];
    const char *slash = strrchr(path, '/');
    size_t bytes = slash == NULL ? 0 : (size_t)(slash - path);
    int descriptor, number = 0;

    if (bytes >= sizeof parent)
        return ENAMETOOLONG;
    memcpy(parent, path, bytes);
    parent[bytes] = '\0';
    descriptor = open(slash == NULL ? "." : bytes == 0 ? "/" : parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0)
        return errno;
    /* Some file systems cannot sync a directory and say EINVAL: there is nothing more to be had from them. */
    if (fsync(descriptor) != 0 && errno != EINVAL)
        number = errno;
    close(descriptor);
    return number;
}

void rlhfi_system_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

void rlhfi_system_give_way(void)
{
    sched_yield();
}

int32_t rlhfi_system_processors(void)
{
    long online;
#if defined(__linux__)
    /* Room for 8192 processors; the call fails when the kernel's own mask is longer. */
    cpu_set_t allowed[8];
    if (sched_getaffinity(0, sizeof allowed, allowed) == 0)
        return CPU_COUNT_S(sizeof allowed, allowed) > 0 ? CPU_COUNT_S(sizeof allowed, allowed) : 1;
#endif
    online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (int32_t)online : 1;
}

double rlhfi_seconds(void)
{
    struct timespec now;

    if (clock_gettime(CLOCK_MONOTONIC, &now) != 0)
        return 0.0;
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* getrusage alone would tell the peak of the program that started us when that one was larger. */
static uint64_t peak_from_proc(void)
{
    char text[4096];
    const char *line;
    uint64_t kibibytes = 0;
    ssize_t got;
    int descriptor = open("/proc/self/status", O_RDONLY | O_CLOEXEC);

    if (descriptor < 0)
        return 0;
    got = read(descriptor, text, sizeof text - 1);
    close(descriptor);
    if (got <= 0)
        return 0;
    text[got] = '\0';
    line = strstr(text, "\nVmHWM:");
    if (line == NULL)
        return 0;
    for (line += strlen("\nVmHWM:"); *line == ' ' || *line == '\t'; line++)
        ;
    for (; *line >= '0' && *line <= '9'; line++)
        kibibytes = kibibytes * 10 + (uint64_t)(*line - '0');
    return kibibytes * 1024;
}

uint64_t rlhfi_peak_memory(void)
{
    struct rusage usage;
    uint64_t peak = peak_from_proc();

    if (peak > 0 || getrusage(RUSAGE_SELF, &usage) != 0 || usage.ru_maxrss < 0)
        return peak;
#if defined(__APPLE__)
    return (uint64_t)usage.ru_maxrss;
#else
    return (uint64_t)usage.ru_maxrss * 1024;
#endif
}
