#include "core/nn/key_value_cache.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/tensor.h>

#include "core/error.h"

namespace ta {

KeyValueCache::KeyValueCache(int64_t layers, int64_t rows, int64_t capacity, int64_t hidden,
                             const at::TensorOptions& options)
    : lengths_(rows, 0) {
  for (int64_t i = 0; i < layers; ++i) {
    keys_.push_back(at::empty({rows, capacity, hidden}, options));
    values_.push_back(at::empty({rows, capacity, hidden}, options));
  }
}

at::Tensor KeyValueCache::attend(int64_t layer, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                 const RowLayout& fresh, int64_t heads) {
  auto out = at::empty_like(q, at::MemoryFormat::Contiguous);
  const int64_t hidden = k.size(1);
  auto split = [&](const at::Tensor& x) {  // [rows, length, hidden] → [rows, heads, length, d]
    return x.view({x.size(0), x.size(1), heads, hidden / heads}).transpose(1, 2);
  };
  // Neighbours with as many fresh tokens and as many seen ones are one call.
  for (int64_t row = 0; row < rows();) {
    const int64_t past = lengths_[row], count = fresh.length(row);
    if (past > 0 && count != 1) {
      fail(ErrorCode::invalid_argument, "attention with a cache", "a row that goes on gets one token at a time",
           {.expected = "1 token", .got = text(count)});
    }
    int64_t last = row + 1;
    while (last < rows() && lengths_[last] == past && fresh.length(last) == count) ++last;
    const int64_t group = last - row, begin = fresh.starts()[row];
    auto block = [&](const at::Tensor& x) { return x.narrow(0, begin, group * count).view({group, count, hidden}); };
    auto seen = [&](const at::Tensor& cache) { return cache.narrow(0, row, group).narrow(1, 0, past + count); };
    keys_[layer].narrow(0, row, group).narrow(1, past, count).copy_(block(k));
    values_[layer].narrow(0, row, group).narrow(1, past, count).copy_(block(v));
    auto y = at::scaled_dot_product_attention(split(block(q)), split(seen(keys_[layer])), split(seen(values_[layer])),
                                              {}, 0.0, count > 1);
    split(out.narrow(0, begin, group * count).view({group, count, hidden})).copy_(y);
    row = last;
  }
  return out;
}

KeyValueCache::Seen KeyValueCache::append(int64_t layer, const at::Tensor& k, const at::Tensor& v,
                                          const RowLayout& fresh) {
  std::vector<at::Tensor> keys, values;
  std::vector<int64_t> lengths;
  for (int64_t row = 0; row < rows(); ++row) {
    const int64_t past = lengths_[row], count = fresh.length(row), begin = fresh.starts()[row];
    auto own_keys = keys_[layer].select(0, row), own_values = values_[layer].select(0, row);
    own_keys.narrow(0, past, count).copy_(k.narrow(0, begin, count));
    own_values.narrow(0, past, count).copy_(v.narrow(0, begin, count));
    keys.push_back(own_keys.narrow(0, 0, past + count));
    values.push_back(own_values.narrow(0, 0, past + count));
    lengths.push_back(past + count);
  }
  return {at::cat(keys), at::cat(values), RowLayout(lengths)};
}

void KeyValueCache::advance(const RowLayout& fresh) {
  for (int64_t row = 0; row < rows(); ++row) lengths_[row] += fresh.length(row);
}

void KeyValueCache::keep(const std::vector<int64_t>& rows) {
  std::vector<int64_t> lengths;
  for (int64_t row : rows) lengths.push_back(lengths_[row]);
  lengths_ = std::move(lengths);
  auto index = at::tensor(rows, at::TensorOptions(at::kLong));
  for (auto* cache : {&keys_, &values_})
    for (auto& tensor : *cache) tensor = tensor.index_select(0, index.to(tensor.device()));
}

}  // namespace ta
