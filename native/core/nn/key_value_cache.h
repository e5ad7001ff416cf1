#pragma once
// The keys and values of tokens that a causal model has seen: generation computes each token once. Rows have lengths of
// their own. No gradients.
//   layer: k, v [rows, capacity, heads·d]

#include <ATen/core/Tensor.h>

#include <vector>

#include "core/nn/attention.h"

namespace ta {

class KeyValueCache {
 public:
  KeyValueCache(int64_t layers, int64_t rows, int64_t capacity, int64_t hidden, const at::TensorOptions& options);

  int64_t rows() const { return static_cast<int64_t>(lengths_.size()); }
  int64_t length(int64_t row) const { return lengths_[row]; }

  /// Appends a layer's k and v of the fresh tokens and gives what their queries see; all [fresh tokens, heads·d]. A row
  /// is new and has all its tokens here, or it has one.
  at::Tensor attend(int64_t layer, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                    const RowLayout& fresh, int64_t heads);
  /// Appends likewise and gives all keys and values of the layer as packed rows, for an attention that has more.
  struct Seen {
    at::Tensor k, v;
    RowLayout rows;
  };
  Seen append(int64_t layer, const at::Tensor& k, const at::Tensor& v, const RowLayout& fresh);
  /// After all layers: the fresh tokens are part of what was seen.
  void advance(const RowLayout& fresh);
  /// Only these rows go on, in rising order.
  void keep(const std::vector<int64_t>& rows);

 private:
  std::vector<at::Tensor> keys_, values_;
  std::vector<int64_t> lengths_;
};

}  // namespace ta
