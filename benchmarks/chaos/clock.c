// A wall clock that can be stepped: put before libc's by LD_PRELOAD, it adds what a shared file says, in nanoseconds.
// Monotonic clocks and sleeping are left alone; whoever waits until a moment of the wall clock waits for that of the real one.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL
#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static const volatile int64_t *offset;

__attribute__((constructor)) static void find_offset(void) {
    const char *path = getenv("ERRATA_CHAOS_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *page = mmap(NULL, sizeof *offset, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (page != MAP_FAILED) offset = page;
}

static int64_t now_offset(void) { return offset ? *offset : 0; }

static int is_wall(clockid_t clock) { return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE; }

static struct timespec plus(struct timespec moment, int64_t nanoseconds) {
    int64_t whole = moment.tv_sec * SECOND + moment.tv_nsec + nanoseconds;
    if (whole < 0) whole = 0;
    return (struct timespec){whole / SECOND, whole % SECOND};
}

// Of "never", which is far away, nothing is taken; what is no time is left to libc to refuse.
static const struct timespec *really(clockid_t clock, const struct timespec *until, struct timespec *moved) {
    if (!until || !is_wall(clock) || until->tv_nsec < 0 || until->tv_nsec >= SECOND || until->tv_sec > 1LL << 32) return until;
    *moved = plus(*until, -now_offset());
    return moved;
}

int clock_gettime(clockid_t clock, struct timespec *moment) {
    REAL(clock_gettime);
    int failed = real(clock, moment);
    if (!failed && is_wall(clock)) *moment = plus(*moment, now_offset());
    return failed;
}

int gettimeofday(struct timeval *restrict moment, void *restrict zone) {
    struct timespec exact;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &exact)) return -1;
    *moment = (struct timeval){exact.tv_sec, exact.tv_nsec / 1000};
    return 0;
}

time_t time(time_t *seconds) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (seconds) *seconds = exact.tv_sec;
    return exact.tv_sec;
}

int timespec_get(struct timespec *moment, int base) {
    return base == TIME_UTC && !clock_gettime(CLOCK_REALTIME, moment) ? base : 0;
}

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *until, struct timespec *left) {
    REAL(clock_nanosleep);
    struct timespec moved;
    return real(clock, flags, flags & TIMER_ABSTIME ? really(clock, until, &moved) : until, left);
}

int sem_timedwait(sem_t *restrict semaphore, const struct timespec *restrict until) {
    REAL(sem_timedwait);
    struct timespec moved;
    return real(semaphore, really(CLOCK_REALTIME, until, &moved));
}

int sem_clockwait(sem_t *restrict semaphore, clockid_t clock, const struct timespec *restrict until) {
    REAL(sem_clockwait);
    struct timespec moved;
    return real(semaphore, clock, really(clock, until, &moved));
}

int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict until) {
    REAL(pthread_cond_timedwait);
    struct timespec moved;
    clockid_t clock = condition->__data.__wrefs & 2 ? CLOCK_MONOTONIC : CLOCK_REALTIME;  // as glibc keeps it
    return real(condition, mutex, really(clock, until, &moved));
}

int pthread_cond_clockwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex, clockid_t clock,
                           const struct timespec *restrict until) {
    REAL(pthread_cond_clockwait);
    struct timespec moved;
    return real(condition, mutex, clock, really(clock, until, &moved));
}

int pthread_mutex_timedlock(pthread_mutex_t *restrict mutex, const struct timespec *restrict until) {
    REAL(pthread_mutex_timedlock);
    struct timespec moved;
    return real(mutex, really(CLOCK_REALTIME, until, &moved));
}

// Abseil, which gRPC and Ray wait with, asks the kernel itself.
long syscall(long number, ...) {
    REAL(syscall);
    va_list words;
    va_start(words, number);
    long a[6];
    for (int i = 0; i < 6; i++) a[i] = va_arg(words, long);
    va_end(words);
    struct timespec moved;
    int is_until = number == SYS_futex && (a[1] & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET;
    if (is_until && (a[1] & FUTEX_CLOCK_REALTIME))
        a[3] = (long)really(CLOCK_REALTIME, (const struct timespec *)a[3], &moved);
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
