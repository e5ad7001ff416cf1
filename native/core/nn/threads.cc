#include "core/nn/threads.h"

#include <ATen/Parallel.h>

namespace ta {

namespace {
// Multiply-adds of one hidden × hidden product: about 50 µs of one core.
constexpr int64_t kSmall = 4'000'000;
}  // namespace

ThreadScope::ThreadScope(int64_t tokens, int64_t hidden) {
  const int threads = at::get_num_threads();
  if (threads == 1 || tokens * hidden * hidden >= kSmall) return;
  before_ = threads;
  at::set_num_threads(1);
}

ThreadScope::~ThreadScope() {
  if (before_ != 0) at::set_num_threads(before_);
}

}  // namespace ta
