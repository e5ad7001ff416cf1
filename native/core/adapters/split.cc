#include "core/adapters/split.h"

#include <ATen/ops/tensor.h>

#include <numeric>

#include "core/error.h"

namespace ta {

std::vector<SplitPart> split_tokens(const Composition& setup, const RowLayout& rows, at::Device device) {
  const int64_t wanted = std::accumulate(setup.sizes.begin(), setup.sizes.end(), int64_t{0});
  for (int64_t row = 0; row < rows.rows(); ++row) {
    if (rows.length(row) == wanted) continue;
    fail(ErrorCode::out_of_range, "Split", "the splits do not add up to a row's tokens",
         {.expected = text("rows of ", wanted, " tokens, special tokens included"),
          .got = text("a row of ", rows.length(row))});
  }
  std::vector<SplitPart> parts;
  int64_t offset = 0;
  for (size_t i = 0; i < setup.children.size(); offset += setup.sizes[i++]) {
    const int64_t size = setup.sizes[i];
    if (size == 0) continue;
    std::vector<int64_t> tokens;
    for (int64_t row = 0; row < rows.rows(); ++row)
      for (int64_t t = 0; t < size; ++t) tokens.push_back(rows.starts()[row] + offset + t);
    parts.push_back({&setup.children[i], at::tensor(tokens, at::TensorOptions(at::kLong)).to(device),
                     RowLayout(std::vector<int64_t>(rows.rows(), size))});
  }
  return parts;
}

}  // namespace ta
