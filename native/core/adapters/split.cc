#include "core/adapters/split.h"

#include <ATen/ops/tensor.h>

#include <numeric>

#include "core/error.h"

namespace ta {

namespace {

int64_t shared_out(const Composition& split) {
  return std::accumulate(split.sizes.begin(), split.sizes.end(), int64_t{0});
}

}  // namespace

std::vector<SplitPart> split_tokens(const Composition& setup, const RowLayout& rows, at::Device device) {
  const int64_t wanted = shared_out(setup);
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

void check_splits(const Composition& setup, int64_t tokens, int64_t prompted) {
  // What a Split gives its children is theirs to share out.
  if (setup.kind != Composition::Kind::split) {
    for (const auto& child : setup.children) check_splits(child, tokens, prompted);
    return;
  }
  const int64_t wanted = shared_out(setup);
  if (tokens == prompted || wanted == prompted) return;
  fail(ErrorCode::out_of_range, "Split", "the splits do not add up to a row's tokens and those of its prompt",
       {.expected = text("rows of ", wanted, " tokens, special tokens and the prompt included"),
        .got = text("a row of ", tokens, ", and ", prompted - tokens, " of its prompt"),
        .hint = "Count the tokens of the prompt, too: a Split has them among the row's"});
}

}  // namespace ta
