#include "core/adapters/merged_parts.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/full.h>

#include <algorithm>

namespace ta {

at::Tensor MergedParts::spread(const at::Tensor& b) const {
  if (whole()) return b;
  const int64_t n = count(), rows = b.size(0) / n, r = b.size(1);
  std::vector<at::Tensor> blocks;
  for (int64_t i = 0; i < n; ++i)
    blocks.push_back(at::constant_pad_nd(b.narrow(0, i * rows, rows), {i * r, (n - 1 - i) * r}));
  return put(at::cat(blocks), 0, 0);
}

at::Tensor MergedParts::take(const at::Tensor& all) const {
  if (whole()) return all;
  const int64_t rows = rows_of_each(all.size(0));
  std::vector<at::Tensor> own;
  for (const auto part : chosen_) own.push_back(all.narrow(0, part * rows, rows));
  return at::cat(own);
}

at::Tensor MergedParts::put(const at::Tensor& own, int64_t dim, double fill) const {
  if (whole()) return own;
  const int64_t rows = own.size(dim) / count();
  auto sizes = own.sizes().vec();
  sizes[dim] = rows;
  const auto other = at::full(sizes, fill, own.options().requires_grad(false));
  std::vector<at::Tensor> parts(all_, other);
  for (int64_t i = 0; i < count(); ++i) parts[chosen_[i]] = own.narrow(dim, i * rows, rows);
  return at::cat(parts, dim);
}

}  // namespace ta
