#include "core/exported/padded_rows.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

namespace ta::exported {

PaddedRows::PaddedRows(const RowLayout& layout, at::Device device, int64_t least) : layout_(layout) {
  const auto lengths = layout.lengths();
  columns_ = std::max(least, *std::max_element(lengths.begin(), lengths.end()));
  rectangle_ = RowLayout(std::vector<int64_t>(lengths.size(), columns_));
  if (layout.tokens() == rows() * columns_) return;
  auto places = at::empty({layout.tokens()}, at::TensorOptions(at::kLong));
  auto* next = places.mutable_data_ptr<int64_t>();
  for (size_t row = 0; row < lengths.size(); ++row)
    for (int64_t i = 0; i < lengths[row]; ++i) *next++ = static_cast<int64_t>(row) * columns_ + i;
  places_ = places.to(device);
}

at::Tensor PaddedRows::pad(const at::Tensor& packed) const {
  const int64_t size = packed.size(1);
  if (even()) return packed.view({rows(), columns_, size});
  return at::zeros({rows() * columns_, size}, packed.options().requires_grad(false))
      .index_copy(0, places_, packed)
      .view({rows(), columns_, size});
}

at::Tensor PaddedRows::pad_numbers(const at::Tensor& packed, int64_t fill) const {
  if (even()) return packed.view({rows(), columns_});
  return at::full({rows() * columns_}, fill, packed.options()).index_copy(0, places_, packed).view({rows(), columns_});
}

at::Tensor PaddedRows::pack(const at::Tensor& padded) const {
  const auto flat = padded.reshape({rows() * columns_, padded.size(-1)});
  return even() ? flat : flat.index_select(0, places_);
}

at::Tensor PaddedRows::mask(at::ScalarType type, at::Device device) const {
  const auto options = at::TensorOptions(type).device(device);
  if (even()) return at::ones({rows(), columns_}, options);
  return at::zeros({rows() * columns_}, options).index_fill(0, places_, 1).view({rows(), columns_});
}

}  // namespace ta::exported
