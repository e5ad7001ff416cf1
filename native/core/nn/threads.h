#pragma once
// A batch whose products take a few microseconds is done sooner by one thread than by several that wait for each other.
// The choice depends on sizes alone, so the same batch gives the same bits.

#include <cstdint>

namespace ta {

/// While it lives, this thread's libtorch work runs on one thread if the batch is small.
class ThreadScope {
 public:
  ThreadScope(int64_t tokens, int64_t hidden);
  ~ThreadScope();
  ThreadScope(const ThreadScope&) = delete;
  ThreadScope& operator=(const ThreadScope&) = delete;

 private:
  int before_ = 0;  ///< 0: nothing was changed
};

}  // namespace ta
