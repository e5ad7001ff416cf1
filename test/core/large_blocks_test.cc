// Blocks of large tensors: used again, never more than were once in use at once, given back when asked.
#include "core/nn/large_blocks.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>

#include "check.h"
#include "core/nn/gemm.h"

namespace {

at::Tensor floats(int64_t mebibytes) {
  return at::empty({mebibytes << 18}, at::TensorOptions(at::kFloat));
}

#ifdef __linux__
// Resident memory that belongs to no file, in MiB.
int64_t resident() {
  std::ifstream status("/proc/self/status");
  std::string word;
  while (status >> word && word != "RssAnon:") {
  }
  int64_t kibibytes = 0;
  status >> kibibytes;
  return kibibytes >> 10;
}
#endif

}  // namespace

TEST(a_freed_block_serves_the_next_tensor_of_about_its_size) {
  ta::use_large_blocks();
  auto first = floats(8);
  const void* place = first.data_ptr();
  first.reset();
  CHECK(floats(7).data_ptr() == place);
  CHECK(floats(3).data_ptr() != place);
  ta::release_large_blocks();
}

TEST(products_in_blocks_are_right) {
  ta::use_large_blocks();
  auto x = at::ones({2048, 512}, at::TensorOptions(at::kFloat)), w = at::ones({1024, 512}, x.options());
  for (int i = 0; i < 3; ++i) {
    auto y = ta::affine(x, w, {});
    CHECK_EQ(y.min().item<float>(), 512.0f);
    CHECK_EQ(y.max().item<float>(), 512.0f);
  }
  x.resize_({4096, 512});  // a larger block, the old values in front
  CHECK_EQ(x.narrow(0, 0, 2048).sum().item<float>(), 2048.0f * 512.0f);
}

#ifdef __linux__
TEST(what_is_kept_and_used_stays_below_the_most_ever_used) {
  ta::use_large_blocks();
  ta::release_large_blocks();
  const auto before = resident();
  // Ten rounds of sizes that do not fit each other's blocks, 64 MiB at once.
  for (int64_t round = 0; round < 10; ++round) {
    std::vector<at::Tensor> tensors;
    const int64_t each = round % 2 == 0 ? 16 : 4;
    for (int64_t i = 0; i < 64 / each; ++i) tensors.push_back(floats(each).fill_(1));
    CHECK(resident() - before < 80);
  }
  ta::release_large_blocks();
  CHECK(resident() - before < 16);
}
#endif
