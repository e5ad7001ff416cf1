#include "core/nn/parallel.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <exception>
#include <mutex>

#ifndef _WIN32
#include <dlfcn.h>
#endif

namespace ta {

#ifdef _WIN32

bool runs_alone(int64_t, int64_t) {
  return false;
}

void run_apart(int64_t begin, int64_t end, int64_t grain, c10::function_ref<void(int64_t, int64_t)> work) {
  at::parallel_for(begin, end, grain, [&](int64_t first, int64_t last) { work(first, last); });
}

#else

namespace {

// What GCC makes of `#pragma omp parallel`; LLVM's run-time, which libtorch has on macOS, answers to it as well.
struct OpenMP {
  void (*parallel)(void (*)(void*), void*, unsigned, unsigned) = nullptr;
  int (*threads)() = nullptr;
  int (*thread)() = nullptr;
  bool found = false;
};

template <typename F>
bool find(void* library, const char* name, F& function) {
  function = reinterpret_cast<F>(dlsym(library, name));
  return function != nullptr;
}

// Of libtorch's own: a second run-time in the process would have threads of its own.
OpenMP find_openmp() {
  OpenMP found;
  Dl_info libtorch;
  int (*const inside)() = at::get_num_threads;
  if (dladdr(reinterpret_cast<const void*>(inside), &libtorch) == 0) return found;
  void* library = dlopen(libtorch.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
  if (library == nullptr) return found;
  found.found = find(library, "GOMP_parallel", found.parallel) && find(library, "omp_get_num_threads", found.threads) &&
                find(library, "omp_get_thread_num", found.thread);
  return found;
}

const OpenMP& openmp() {
  static const OpenMP found = find_openmp();
  return found;
}

struct Region {
  const OpenMP& openmp;
  int64_t begin, end, grain;
  c10::function_ref<void(int64_t, int64_t)> work;
  std::mutex mutex;
  std::exception_ptr error;

  void run() {
    const int64_t most = (end - begin + grain - 1) / grain;
    const int64_t threads = std::min<int64_t>(openmp.threads(), most), thread = openmp.thread();
    const int64_t length = (end - begin + threads - 1) / threads, first = begin + thread * length;
    if (first >= end) return;
    try {
      const at::internal::ThreadIdGuard id(static_cast<int>(thread));
      const c10::ParallelGuard inside(true);
      work(first, std::min(end, first + length));
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (error == nullptr) error = std::current_exception();
    }
  }
};

}  // namespace

bool runs_alone(int64_t count, int64_t grain) {
  at::internal::lazy_init_num_threads();
  return count <= std::max<int64_t>(1, grain) || at::in_parallel_region() || at::get_num_threads() <= 1 ||
         !openmp().found;
}

void run_apart(int64_t begin, int64_t end, int64_t grain, c10::function_ref<void(int64_t, int64_t)> work) {
  Region region{openmp(), begin, end, std::max<int64_t>(1, grain), work, {}, {}};
  openmp().parallel([](void* data) { static_cast<Region*>(data)->run(); }, &region, 0, 0);
  if (region.error != nullptr) std::rethrow_exception(region.error);
}

#endif

}  // namespace ta
