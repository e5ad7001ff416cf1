// What tensors take at once: as if threads had met, whether they did or not.
#include "core/nn/allocation_meter.h"

#include <ATen/ops/empty.h>

#include <cstring>
#include <latch>
#include <thread>

#include "check.h"
#include "core/nn/large_blocks.h"

namespace {

constexpr int64_t kMebi = int64_t{1} << 20;

at::Tensor mebibytes(int64_t count) {
  return at::empty({count * kMebi}, at::TensorOptions(at::kByte));
}

void begin() {
  ta::use_large_blocks();
  ta::meter_allocations();
}

}  // namespace

TEST(threads_that_do_not_meet_count_as_if_they_had) {
  begin();
  const auto kept = mebibytes(100);  // from before: not of the work
  const auto peak = ta::peak_bytes(1, [](size_t) {
    const auto shared = mebibytes(1);
    std::latch first_is_done(1), second_is_done(1);
    std::thread first([&] {
      mebibytes(3);
      first_is_done.count_down();
      second_is_done.wait();
    });
    std::thread second([&] {
      first_is_done.wait();
      mebibytes(5);
      second_is_done.count_down();
    });
    first.join();
    second.join();
    mebibytes(2);
  });
  CHECK_EQ(peak.tensors, (1 + 2 + 3 + 5) * kMebi);
}

TEST(parts_do_not_meet_but_what_one_leaves_stays) {
  begin();
  at::Tensor left;
  const auto peak = ta::peak_bytes(3, [&](size_t part) {
    std::thread([&] {
      if (part == 0) left = mebibytes(1);
      if (part == 1) mebibytes(4);
    }).join();
    if (part == 2) mebibytes(3);
  });
  CHECK_EQ(peak.tensors, (1 + 4) * kMebi);
  CHECK_EQ(ta::peak_bytes(1, [&](size_t) { left.reset(); }).tensors, 0);
}

// The room of one tensor goes back to the system when the next is made: the process had it until then.
TEST(what_the_process_has_is_seen_before_room_is_made) {
  begin();
  ta::release_large_blocks();
  const auto before = ta::peak_bytes(0, [](size_t) {}).process;
  const auto peak = ta::peak_bytes(1, [](size_t) {
    {
      const auto large = mebibytes(40);
      std::memset(large.mutable_data_ptr(), 1, large.nbytes());
    }
    mebibytes(20);
  });
  if (before > 0) CHECK(peak.process > before + 35 * kMebi);
}
