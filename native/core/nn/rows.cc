#include "core/nn/rows.h"

#include <ATen/ops/cat.h>

namespace ta {

namespace {

// One result for each group of rows, put together.
template <class Of>
at::Tensor by_group(const RowLayout& rows, Of of) {
  std::vector<at::Tensor> parts;
  int64_t row = 0;
  for (const auto& group : rows.groups()) {
    parts.push_back(of(group, row));
    row += group.count;
  }
  return parts.size() == 1 ? parts[0] : at::cat(parts);
}

}  // namespace

at::Tensor row_means(const at::Tensor& x, const RowLayout& rows) {
  return by_group(rows, [&](const RowLayout::Group& group, int64_t) {
    auto tokens = x.narrow(0, group.start, group.count * group.length);
    return group.length == 1 ? tokens : tokens.reshape({group.count, group.length, x.size(1)}).mean(1);
  });
}

at::Tensor for_each_token(const at::Tensor& values, const RowLayout& rows) {
  return by_group(rows, [&](const RowLayout::Group& group, int64_t row) {
    auto own = values.narrow(0, row, group.count);
    if (group.length == 1) return own;
    const int64_t size = values.size(1);
    return own.unsqueeze(1).expand({group.count, group.length, size}).reshape({group.count * group.length, size});
  });
}

}  // namespace ta
