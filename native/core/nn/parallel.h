#pragma once
// at::parallel_for is a template over the compiler's own OpenMP: without it, as with Apple's Clang, it runs on one
// thread, and with Clang on Linux it calls a run-time that libtorch does not bring. This one asks libtorch's run-time
// itself.

#include <ATen/Parallel.h>
#include <c10/util/FunctionRef.h>

#include <cstdint>

namespace ta {

/// Whether parallel_for is one call: inside another one, where one thread is set, or for so few numbers.
bool runs_alone(int64_t count, int64_t grain);

/// parallel_for where it is several calls.
void run_apart(int64_t begin, int64_t end, int64_t grain, c10::function_ref<void(int64_t, int64_t)> work);

/// Calls work(first, last) for parts of [begin, end), at least grain long, on libtorch's threads, and returns when all
/// are done. Inside another such call, or where one thread is set, it is one call. An error of a part is thrown.
template <typename Work>
void parallel_for(int64_t begin, int64_t end, int64_t grain, const Work& work) {
  if (begin >= end) return;
  if (!runs_alone(end - begin, grain)) return run_apart(begin, end, grain, work);
  const at::internal::ThreadIdGuard id(0);
  const c10::ParallelGuard inside(true);
  work(begin, end);
}

}  // namespace ta
