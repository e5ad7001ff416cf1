#pragma once
// Between rows one after the other, as the library has them, and the rectangle [rows, columns] that a graph of PyTorch
// reads, where shorter rows have padding behind them. Where all rows are of one length the two are views of each other.

#include <ATen/core/Tensor.h>

#include "core/nn/packed_batch.h"

namespace ta::exported {

class PaddedRows {
 public:
  /// `least`: columns that there must be.
  PaddedRows(const RowLayout& layout, at::Device device, int64_t least = 1);

  int64_t rows() const { return layout_.rows(); }
  int64_t columns() const { return columns_; }
  bool even() const { return !places_.defined(); }
  const RowLayout& layout() const { return layout_; }
  /// Every row as long as the longest.
  const RowLayout& rectangle() const { return rectangle_; }

  /// [tokens, n] → [rows, columns, n], zero where there is padding.
  at::Tensor pad(const at::Tensor& packed) const;
  /// [tokens] → [rows, columns]; `fill` where there is padding.
  at::Tensor pad_numbers(const at::Tensor& packed, int64_t fill) const;
  /// [rows, columns, n] or [rows · columns, n] → [tokens, n].
  at::Tensor pack(const at::Tensor& padded) const;
  /// [rows, columns]: 1 at tokens, 0 at padding.
  at::Tensor mask(at::ScalarType type, at::Device device) const;

 private:
  RowLayout layout_, rectangle_;
  int64_t columns_ = 0;
  at::Tensor places_;  ///< [tokens] int64: where each is in the rectangle; undefined where each has one
};

}  // namespace ta::exported
