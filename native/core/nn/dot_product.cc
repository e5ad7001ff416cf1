#include "core/nn/dot_product.h"

#include <ATen/ops/empty.h>

#include <algorithm>

#include "core/nn/lanes.h"
#include "core/nn/parallel.h"

namespace ta {

#if TA_HAS_LANES

namespace {

using lanes::Floats;
using lanes::kWidth;

constexpr int64_t kRows = 4, kColumns = 3;  // of a tile: twelve sums and four operands fill sixteen registers
constexpr int64_t kInner = 768;             // a tile's rows of x stay in the first cache
constexpr int64_t kWorthMoreThreads = 400'000;

// Number: of w, float or the bits of bfloat16, which are widened where they are read.
template <class Number>
struct Product {
  const float* x;
  int64_t x_row;  // numbers from one row to the next
  const Number* w;
  int64_t w_row;
  const float* bias;  // null: none
  float* y;
  int64_t rows, columns, inner;
};

// Rows × Columns dot products from row i and column j on, over `inner` numbers from `first`: the bias first, then
// added.
template <int Rows, int Columns, class Number>
TA_INLINE void tile(const Product<Number>& p, int64_t i, int64_t j, int64_t first, int64_t inner) {
  Floats sum[Columns][kRows];  // of four rows, whatever Rows is: all sums end alike
#pragma GCC unroll 8
  for (int c = 0; c < Columns; ++c) {
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) sum[c][r] = lanes::all(0);
  }
  const float* x = p.x + i * p.x_row + first;
  const Number* w = p.w + j * p.w_row + first;
  for (int64_t k = 0; k < inner; k += kWidth) {
    Floats wk[Columns];
#pragma GCC unroll 8
    for (int c = 0; c < Columns; ++c) wk[c] = lanes::load(w + c * p.w_row + k);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      const Floats xk = lanes::load(x + r * p.x_row + k);
#pragma GCC unroll 8
      for (int c = 0; c < Columns; ++c) sum[c][r] += xk * wk[c];
    }
  }
#pragma GCC unroll 8
  for (int c = 0; c < Columns; ++c) {
    float total[kRows];
    lanes::sums(sum[c][0], sum[c][1], sum[c][2], sum[c][3], total);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      float& value = p.y[(i + r) * p.columns + j + c];
      value = total[r] + (first > 0 ? value : p.bias != nullptr ? p.bias[j + c] : 0.0F);
    }
  }
}

template <int Columns, class Number>
TA_INLINE void column_of_dot_products(const Product<Number>& p, int64_t j, int64_t first, int64_t inner) {
  int64_t i = 0;
  for (; i + kRows <= p.rows; i += kRows) tile<kRows, Columns>(p, i, j, first, inner);
  switch (p.rows - i) {
    case 3:
      return tile<3, Columns>(p, i, j, first, inner);
    case 2:
      return tile<2, Columns>(p, i, j, first, inner);
    case 1:
      return tile<1, Columns>(p, i, j, first, inner);
  }
}

template <class Number>
TA_LANES void dot_products(const Product<Number>& p, int64_t from, int64_t to) {
  for (int64_t first = 0; first < p.inner; first += kInner) {
    const int64_t inner = std::min(kInner, p.inner - first);
    int64_t j = from;
    for (; j + kColumns <= to; j += kColumns) column_of_dot_products<kColumns>(p, j, first, inner);
    for (; j < to; ++j) column_of_dot_products<1>(p, j, first, inner);
  }
}

bool is_plain(const at::Tensor& x) {
  return x.dim() == 2 && x.device().is_cpu() && (x.stride(1) == 1 || x.size(1) == 1);
}

template <class Number>
void compute(const at::Tensor& x, const at::Tensor& w, const Number* numbers, const at::Tensor& b,
             const at::Tensor& y) {
  const Product<Number> p{x.const_data_ptr<float>(),
                          x.stride(0),
                          numbers,
                          w.stride(0),
                          b.defined() ? b.const_data_ptr<float>() : nullptr,
                          y.mutable_data_ptr<float>(),
                          x.size(0),
                          w.size(0),
                          x.size(1)};
  const int64_t grain = std::max<int64_t>(1, kWorthMoreThreads / std::max<int64_t>(1, p.rows * p.inner * kColumns));
  // In whole tiles.
  parallel_for(0, (p.columns + kColumns - 1) / kColumns, grain, [&](int64_t begin, int64_t end) {
    dot_products(p, begin * kColumns, std::min(p.columns, end * kColumns));
  });
}

}  // namespace

bool dot_product_runs(const at::Tensor& x, const at::Tensor& w) {
  return lanes::fast() && is_plain(x) && is_plain(w) && x.scalar_type() == at::kFloat && lanes::reads(w) &&
         x.size(1) > 0 && x.size(1) % kWidth == 0;
}

at::Tensor dot_product(const at::Tensor& x, const at::Tensor& w, const at::Tensor& bias) {
  auto y = at::empty({x.size(0), w.size(0)}, x.options());
  const auto b = bias.defined() ? bias.contiguous() : bias;
  lanes::with_numbers(w, [&](const auto* numbers) { compute(x, w, numbers, b, y); });
  return y;
}

#else

bool dot_product_runs(const at::Tensor&, const at::Tensor&) {
  return false;
}
at::Tensor dot_product(const at::Tensor&, const at::Tensor&, const at::Tensor&) {
  return {};
}

#endif

}  // namespace ta
