#include "core/nn/dot_product.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <memory>

#include "core/nn/lanes.h"

namespace ta {

#if TA_HAS_LANES

namespace {

using lanes::Floats;
using lanes::kWidth;

constexpr int64_t kRows = 4, kColumns = 3;  // of a tile: twelve sums and four operands fill sixteen registers
constexpr int64_t kInner = 768;             // a tile's rows of x stay in the first cache
constexpr int64_t kRowBlock = 256;          // of x, packed once for all of w
constexpr int64_t kColumnBlock = 48;        // of w, packed for all these rows: they stay in the second cache
constexpr int64_t kFewRows = 32;            // so few do not pay for packing
// Sums at the end of short dot products cost more than MKL's copies.
constexpr int64_t kShort = 192;
constexpr int64_t kWorthMoreThreads = 400'000;

// OperandVectors of a matrix: vector s of row i is at data + i · row + s · step.
struct OperandVectors {
  const float* data;
  int64_t row, step;
};

struct ProductOutput {
  float* data;
  int64_t row;  // numbers from one row to the next
};

// What an unfinished sum goes on from: the bias at the beginning of the inner dimension, then y itself.
struct SumStart {
  const float* bias;  // null: none
  bool add;
};

template <int Rows, int Columns>
TA_INLINE void tile(OperandVectors x, OperandVectors w, int64_t steps, ProductOutput y, SumStart start) {
  Floats sum[kColumns][kRows];
#pragma GCC unroll 8
  for (int j = 0; j < Columns; ++j) {
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) sum[j][i] = lanes::all(0);
  }
  for (int64_t s = 0; s < steps; ++s) {
    Floats ws[Columns];
#pragma GCC unroll 8
    for (int j = 0; j < Columns; ++j) ws[j] = lanes::load(w.data + j * w.row + s * w.step);
#pragma GCC unroll 8
    for (int i = 0; i < Rows; ++i) {
      const Floats xs = lanes::load(x.data + i * x.row + s * x.step);
#pragma GCC unroll 8
      for (int j = 0; j < Columns; ++j) sum[j][i] += xs * ws[j];
    }
  }
#pragma GCC unroll 8
  for (int j = 0; j < Columns; ++j) {
    float total[kRows];
    lanes::sums(sum[j][0], sum[j][1], sum[j][2], sum[j][3], total);
#pragma GCC unroll 8
    for (int i = 0; i < Rows; ++i) {
      float& value = y.data[i * y.row + j];
      value = total[i] + (start.add ? value : start.bias != nullptr ? start.bias[j] : 0.0F);
    }
  }
}

template <int Rows>
TA_LANES void tiles_of(OperandVectors x, OperandVectors w, int64_t columns, int64_t steps, ProductOutput y, SumStart start) {
  switch (columns) {
    case 1:
      return tile<Rows, 1>(x, w, steps, y, start);
    case 2:
      return tile<Rows, 2>(x, w, steps, y, start);
    default:
      return tile<Rows, 3>(x, w, steps, y, start);
  }
}

TA_LANES void tiles(OperandVectors x, int64_t rows, OperandVectors w, int64_t columns, int64_t steps, ProductOutput y, SumStart start) {
  switch (rows) {
    case 1:
      return tiles_of<1>(x, w, columns, steps, y, start);
    case 2:
      return tiles_of<2>(x, w, columns, steps, y, start);
    case 3:
      return tiles_of<3>(x, w, columns, steps, y, start);
    default:
      return tiles_of<4>(x, w, columns, steps, y, start);
  }
}

// Memory of a thread, which it keeps: no call pays for new pages.
class OperandMemory {
 public:
  float* of(int64_t numbers) {
    if (numbers > size_) memory_ = std::make_unique<float[]>(numbers + kWidth), size_ = numbers;
    return memory_.get();
  }

 private:
  std::unique_ptr<float[]> memory_;
  int64_t size_ = 0;
};

struct Operand {
  const float* data;
  int64_t row, column;  // strides
};

// `count` rows of a matrix in groups, the vectors of a group's rows side by side; zeros behind the last row and number.
class Packing {
 public:
  Packing(int64_t inner, int64_t group, float* to)
      : inner_(inner), steps_((inner + kWidth - 1) / kWidth), group_(group), to_(to) {}

  TA_LANES void pack(Operand from, int64_t count) const {
    const int64_t all = (count + group_ - 1) / group_ * group_;
    const int64_t across = from.row == 1 && from.column != 1 ? count / kWidth * kWidth : 0;
    for (int64_t i = 0; i < across; i += kWidth) eight_columns(from, i);
    for (int64_t i = across; i < all; ++i) one_row(from, i, i < count);
  }

 private:
  float* at(int64_t i, int64_t s) const {
    return to_ + ((i / group_ * steps_ + s) * group_ + i % group_) * kWidth;
  }
  TA_LANES void one_row(Operand from, int64_t i, bool there) const {
    const float* row = from.data + i * from.row;
    const int64_t whole = there && from.column == 1 ? inner_ / kWidth : 0;
    for (int64_t s = 0; s < whole; ++s) lanes::store(at(i, s), lanes::load(row + s * kWidth));
    for (int64_t k = whole * kWidth; k < steps_ * kWidth; ++k) {
      at(i, k / kWidth)[k % kWidth] = there && k < inner_ ? row[k * from.column] : 0.0F;
    }
  }
  // Rows i .. i + 7 of a matrix whose columns lie one after the other.
  TA_LANES void eight_columns(Operand from, int64_t i) const {
    for (int64_t s = 0; s < steps_; ++s) {
      Floats v[kWidth];
      for (int64_t k = 0; k < kWidth; ++k) {
        const int64_t column = s * kWidth + k;
        v[k] = column < inner_ ? lanes::load(from.data + column * from.column + i) : lanes::all(0);
      }
      lanes::transpose(v);
      for (int64_t r = 0; r < kWidth; ++r) lanes::store(at(i + r, s), v[r]);
    }
  }

  int64_t inner_, steps_, group_;
  float* to_;
};

struct Product {
  Operand x, w;
  int64_t rows, columns, inner;
  const float* bias;
  float* y;

  ProductOutput output(int64_t row, int64_t column) const { return {y + row * columns + column, columns}; }
  SumStart start(int64_t inner_from, int64_t column) const {
    return {bias == nullptr ? nullptr : bias + column, inner_from > 0};
  }
};

int64_t rounded_up(int64_t n, int64_t to) {
  return (n + to - 1) / to * to;
}

struct ProductBlock {
  int64_t first_row, rows, first, inner;
};

// As they lie in memory.
TA_LANES void few_rows(const Product& p, const ProductBlock& b, int64_t from, int64_t to) {
  for (int64_t j = from; j < to; j += kColumns) {
    const OperandVectors w{p.w.data + j * p.w.row + b.first, p.w.row, kWidth};
    for (int64_t i = 0; i < p.rows; i += kRows) {
      tiles({p.x.data + i * p.x.row + b.first, p.x.row, kWidth}, std::min(kRows, p.rows - i), w,
            std::min(kColumns, to - j), b.inner / kWidth, p.output(i, j), p.start(b.first, j));
    }
  }
}

// One block of x, packed, with columns from .. to.
TA_LANES void many_rows(const Product& p, const ProductBlock& b, const float* x, int64_t from, int64_t to) {
  static thread_local OperandMemory scratch;
  const int64_t steps = rounded_up(b.inner, kWidth) / kWidth;
  float* w = scratch.of(rounded_up(kColumnBlock, kColumns) * steps * kWidth);
  for (int64_t j0 = from; j0 < to; j0 += kColumnBlock) {
    const int64_t j1 = std::min(to, j0 + kColumnBlock);
    Packing(b.inner, kColumns, w).pack({p.w.data + j0 * p.w.row + b.first * p.w.column, p.w.row, p.w.column}, j1 - j0);
    for (int64_t i = 0; i < b.rows; i += kRows) {
      for (int64_t j = j0; j < j1; j += kColumns) {
        tiles({x + i * steps * kWidth, kWidth, kRows * kWidth}, std::min(kRows, b.rows - i),
              {w + (j - j0) * steps * kWidth, kWidth, kColumns * kWidth}, std::min(kColumns, j1 - j), steps,
              p.output(b.first_row + i, j), p.start(b.first, j));
      }
    }
  }
}

// run(from, to) over all columns, in whole tiles.
template <class Run>
void by_columns(const Product& p, const ProductBlock& b, const Run& run) {
  const int64_t tiles_across = (p.columns + kColumns - 1) / kColumns;
  const int64_t grain = std::max<int64_t>(1, kWorthMoreThreads / std::max<int64_t>(1, b.rows * b.inner * kColumns));
  at::parallel_for(0, tiles_across, grain, [&](int64_t begin, int64_t end) {
    run(begin * kColumns, std::min(p.columns, end * kColumns));
  });
}

void compute_product(const Product& p) {
  static thread_local OperandMemory scratch;
  const bool few = p.rows <= kFewRows && p.x.column == 1 && p.w.column == 1 && p.inner % kWidth == 0;
  const int64_t blocks = (p.inner + kInner - 1) / kInner;
  const int64_t block = rounded_up((p.inner + blocks - 1) / blocks, kWidth);
  for (int64_t first = 0; first < p.inner; first += block) {
    for (int64_t row = 0; row < p.rows; row += kRowBlock) {
      const ProductBlock b{row, std::min(kRowBlock, p.rows - row), first, std::min(block, p.inner - first)};
      if (few) {
        by_columns(p, b, [&](int64_t from, int64_t to) { few_rows(p, b, from, to); });
        continue;
      }
      float* x = scratch.of(rounded_up(b.rows, kRows) * rounded_up(b.inner, kWidth));
      Packing(b.inner, kRows, x).pack({p.x.data + row * p.x.row + first * p.x.column, p.x.row, p.x.column}, b.rows);
      by_columns(p, b, [&](int64_t from, int64_t to) { many_rows(p, b, x, from, to); });
    }
  }
}

// MKL has kernels of its own for this maker's processors, whose copies are what is slow.
bool slow_library() {
#if defined(__x86_64__)
  static const bool answer = __builtin_cpu_is("amd") && at::get_cpu_capability() == "AVX2";
  return answer;
#else
  return false;
#endif
}

}  // namespace

bool dot_product_runs(const at::Tensor& x, const at::Tensor& w) {
  return lanes::fast() && x.dim() == 2 && w.dim() == 2 && x.device().is_cpu() && w.device().is_cpu() &&
         x.scalar_type() == at::kFloat && w.scalar_type() == at::kFloat;
}

bool dot_product_serves(const at::Tensor& x, const at::Tensor& w) {
  return slow_library() && dot_product_runs(x, w) && x.size(1) >= kShort && w.size(0) >= kWidth && x.size(0) > 0;
}

at::Tensor dot_product(const at::Tensor& x, const at::Tensor& w, const at::Tensor& bias) {
  const int64_t rows = x.size(0), columns = w.size(0), inner = x.size(1);
  if (inner == 0) return bias.defined() ? bias.expand({rows, columns}).clone() : at::zeros({rows, columns}, x.options());
  auto y = at::empty({rows, columns}, x.options());
  const auto b = bias.defined() ? bias.contiguous() : bias;
  compute_product({{x.const_data_ptr<float>(), x.stride(0), x.stride(1)},
            {w.const_data_ptr<float>(), w.stride(0), w.stride(1)},
            rows,
            columns,
            inner,
            b.defined() ? b.const_data_ptr<float>() : nullptr,
            y.mutable_data_ptr<float>()});
  return y;
}

#else

bool dot_product_runs(const at::Tensor&, const at::Tensor&) {
  return false;
}
bool dot_product_serves(const at::Tensor&, const at::Tensor&) {
  return false;
}
at::Tensor dot_product(const at::Tensor&, const at::Tensor&, const at::Tensor&) {
  return {};
}

#endif

}  // namespace ta
