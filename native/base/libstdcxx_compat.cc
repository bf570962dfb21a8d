// Definitions of functions that GCC 12's headers expect from newer C and C++ libraries, so that the addon loads with
// older ones (see glibc_compat.h; test/pack/symbols.mjs checks the result). The linker keeps them inside the addon.
#if defined(__linux__)
#include <exception>
#include <new>
#include <sstream>

#if defined(__GLIBCXX__) && defined(__GLIBC__)

// glibc 2.32: whether the process has only one thread, so that reference counts need no atomics. It always has more.
extern "C" char __libc_single_threaded;
char __libc_single_threaded = 0;

namespace std {

// GLIBCXX_3.4.29: a container was asked for more elements than it can hold.
void __throw_bad_array_new_length() { throw bad_array_new_length(); }

// GLIBCXX_3.4.26 and 3.4.29: compiled here instead.
template basic_ostringstream<char>::basic_ostringstream();
template basic_string<char> basic_stringbuf<char>::str() const&;
template basic_string<char> basic_ostringstream<char>::str() const&;

// CXXABI_1.3.13 split this from the destructor, which is CXXABI_1.3.3 and does the same.
namespace __exception_ptr {
extern "C" void rubricate_exception_ptr_destroy(void*) __asm__("_ZNSt15__exception_ptr13exception_ptrD1Ev");
void exception_ptr::_M_release() noexcept { rubricate_exception_ptr_destroy(this); }
}  // namespace __exception_ptr

}  // namespace std

#endif
#endif
