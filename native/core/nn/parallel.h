#pragma once
// at::parallel_for is a template over the compiler's own OpenMP: without it, as with Apple's Clang, it runs on one
// thread, and with Clang on Linux it calls a run-time that libtorch does not bring. This one asks libtorch's run-time
// itself.

#include <c10/util/FunctionRef.h>

#include <cstdint>

namespace ta {

/// Calls work(first, last) for parts of [begin, end), at least grain long, on libtorch's threads, and returns when all
/// are done. Inside another such call, or where one thread is set, it is one call. An error of a part is thrown.
void parallel_for(int64_t begin, int64_t end, int64_t grain, c10::function_ref<void(int64_t, int64_t)> work);

}  // namespace ta
