// What tensors take at once: as if threads had met, whether they did or not.
#include "core/nn/allocation_meter.h"

#include <ATen/ops/empty.h>

#include <latch>
#include <thread>

#include "check.h"

namespace {

constexpr int64_t kMebi = int64_t{1} << 20;

at::Tensor mebibytes(int64_t count) {
  return at::empty({count * kMebi}, at::TensorOptions(at::kByte));
}

}  // namespace

TEST(threads_that_do_not_meet_count_as_if_they_had) {
  ta::meter_allocations();
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
  ta::meter_allocations();
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
