// Parts of a range on libtorch's threads.

#include "core/nn/parallel.h"

#include <ATen/Parallel.h>

#include <atomic>
#include <stdexcept>
#include <vector>

#include "check.h"
#include "shard_results.h"

using shard_results::Threads;

TEST(every_number_of_a_range_is_given_once_in_parts_no_shorter_than_asked) {
  for (const int threads : {1, 2, 4}) {
    const Threads scope(threads);
    for (const int64_t grain : {0, 1, 3, 100}) {
      for (const int64_t length : {0, 1, 2, 7, 64}) {
        std::vector<std::atomic<int>> seen(static_cast<size_t>(length));
        std::atomic<int> parts{0};
        ta::parallel_for(5, 5 + length, grain, [&](int64_t first, int64_t last) {
          ++parts;
          for (int64_t i = first; i < last; ++i) ++seen[static_cast<size_t>(i - 5)];
        });
        for (const auto& count : seen) CHECK_EQ(count.load(), 1);
        if (threads == 1 || length <= grain) CHECK_EQ(parts.load(), length == 0 ? 0 : 1);
        CHECK(parts.load() <= threads);
      }
    }
  }
}

TEST(parts_run_on_as_many_of_libtorchs_threads_as_are_set) {
  const Threads scope(3);
  std::vector<std::atomic<int>> seen(3);
  std::atomic<int> inside{0};
  ta::parallel_for(0, 3, 1, [&](int64_t first, int64_t) {
    ++seen[static_cast<size_t>(at::get_thread_num())];
    if (at::in_parallel_region()) ++inside;
    // Another one inside is one call.
    ta::parallel_for(0, 8, 1, [&](int64_t from, int64_t to) {
      if (to - from != 8) seen[static_cast<size_t>(first)] = 100;
    });
  });
  for (const auto& count : seen) CHECK_EQ(count.load(), 1);
  CHECK_EQ(inside.load(), 3);
}

TEST(an_error_of_a_part_is_thrown_when_all_are_done) {
  const Threads scope(2);
  std::atomic<int> done{0};
  bool thrown = false;
  try {
    ta::parallel_for(0, 2, 1, [&](int64_t first, int64_t) {
      ++done;
      if (first == 1) throw std::runtime_error("the second");
    });
  } catch (const std::runtime_error& error) {
    thrown = std::string(error.what()) == "the second";
  }
  CHECK(thrown);
  CHECK_EQ(done.load(), 2);
}
