// Included first in every shipped source (see CMakeLists.txt and binding.gyp): asks glibc for the symbol versions of
// its first release for the processor, so that an addon built on a new system loads on an old one. The functions are the same:
// glibc 2.34 only moved them into libc, and 2.27 and 2.29 dropped SVID error reporting from the mathematical ones.
// test/pack/symbols.mjs checks the oldest glibc that the result needs.
#if defined(__linux__) && (defined(__x86_64__) || defined(__aarch64__))
#include <features.h>
#if defined(__GLIBC__)
#if defined(__x86_64__)
#define RUBRICATE_SYMBOL(name) __asm__(".symver " #name "," #name "@GLIBC_2.2.5")
#define RUBRICATE_STAT_VERSION 1
#else
#define RUBRICATE_SYMBOL(name) __asm__(".symver " #name "," #name "@GLIBC_2.17")
#define RUBRICATE_STAT_VERSION 0
#endif
RUBRICATE_SYMBOL(pthread_create);
RUBRICATE_SYMBOL(pthread_join);
RUBRICATE_SYMBOL(pthread_detach);
RUBRICATE_SYMBOL(pthread_once);
RUBRICATE_SYMBOL(pthread_mutex_trylock);
RUBRICATE_SYMBOL(dlopen);
RUBRICATE_SYMBOL(dlsym);
RUBRICATE_SYMBOL(dlerror);
RUBRICATE_SYMBOL(dlclose);
RUBRICATE_SYMBOL(dladdr);
RUBRICATE_SYMBOL(exp);
RUBRICATE_SYMBOL(log);
RUBRICATE_SYMBOL(pow);
RUBRICATE_SYMBOL(expf);
RUBRICATE_SYMBOL(logf);
RUBRICATE_SYMBOL(powf);
RUBRICATE_SYMBOL(exp2f);
RUBRICATE_SYMBOL(log2f);
RUBRICATE_SYMBOL(sinf);
RUBRICATE_SYMBOL(cosf);
RUBRICATE_SYMBOL(__xstat);
RUBRICATE_SYMBOL(__fxstat);
#if defined(__x86_64__)
__asm__(".symver pthread_condattr_setclock,pthread_condattr_setclock@GLIBC_2.3.3");  // since glibc 2.3.3
#else
RUBRICATE_SYMBOL(pthread_condattr_setclock);
#endif
#undef RUBRICATE_SYMBOL

// stat and fstat have been library functions since 2.33; before, they were inline calls of these.
#include <sys/stat.h>
extern "C" int __xstat(int version, const char* path, struct stat* status) noexcept;
extern "C" int __fxstat(int version, int descriptor, struct stat* status) noexcept;
#define stat(path, status) __xstat(RUBRICATE_STAT_VERSION, path, status)
#define fstat(descriptor, status) __fxstat(RUBRICATE_STAT_VERSION, descriptor, status)

// gettid has been in glibc since 2.30.
#include <sys/syscall.h>
#include <unistd.h>
#define gettid() static_cast<pid_t>(syscall(SYS_gettid))
#endif
#endif
