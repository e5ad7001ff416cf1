#include "core/nn/panel_product.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <memory>

#include "core/nn/lanes.h"
#include "core/nn/parallel.h"

namespace ta {

#if TA_HAS_LANES

namespace {

using lanes::Floats;
using lanes::kWidth;

// A tile: twelve sums, two vectors of w and one number of x fill the registers.
constexpr int64_t kTileRows = 6, kTileColumns = 16;
// So much of the inner dimension at a time: a panel of x and one of w stay in the first cache,
constexpr int64_t kPanelLength = 256;
// and all panels of so many rows of x in the second.
constexpr int64_t kPanelRows = 43 * kTileRows;
constexpr int64_t kWorthAThread = 1'000'000;

int64_t round_up(int64_t n, int64_t to) {
  return (n + to - 1) / to * to;
}

// Number k of row i is at data + i · row + k · inner; one of the two is 1. Number: float, or the bits of bfloat16,
// which are widened as they are copied.
template <class Number>
struct PanelSource {
  const Number* data;
  int64_t row, inner;

  PanelSource from(int64_t i, int64_t k) const { return {data + i * row + k * inner, row, inner}; }
};

// The first `rows` rows side by side: number k of row i at to[k · Rows + i], zeros in rows that are not there.
// Eight lines of eight are turned at a time; what a turned line has beyond `Rows` the next one overwrites.
template <int Rows, class Number>
TA_INLINE void pack_rows(PanelSource<Number> from, int64_t rows, int64_t length, float* to) {
  int64_t k = 0;
  for (; k + kWidth <= length; k += kWidth) {
#pragma GCC unroll 2
    for (int first = 0; first < Rows; first += kWidth) {
      Floats v[kWidth];
#pragma GCC unroll 8
      for (int i = 0; i < kWidth; ++i) {
        v[i] = first + i < rows ? lanes::load(from.data + (first + i) * from.row + k) : lanes::all(0);
      }
      lanes::transpose(v);
#pragma GCC unroll 8
      for (int i = 0; i < kWidth; ++i) lanes::store(to + (k + i) * Rows + first, v[i]);
    }
  }
  for (; k < length; ++k) {
    for (int64_t i = 0; i < Rows; ++i) to[k * Rows + i] = i < rows ? lanes::number(from.data[i * from.row + k]) : 0.0F;
  }
}

// The same of a matrix whose columns are dense: its numbers lie side by side already.
template <class Number>
TA_INLINE void pack_columns(PanelSource<Number> from, int64_t rows, int64_t length, float* to) {
  for (int64_t k = 0; k < length; ++k, to += kTileColumns) {
    const Number* line = from.data + k * from.inner;
    if (rows == kTileColumns) {
      lanes::store(to, lanes::load(line));
      lanes::store(to + kWidth, lanes::load(line + kWidth));
      continue;
    }
    for (int64_t i = 0; i < kTileColumns; ++i) to[i] = i < rows ? lanes::number(line[i]) : 0.0F;
  }
}

// c [Rows, 16] = a panel of x times one of w, added to what is there where `adds`.
template <int Rows>
TA_INLINE void full_tile(const float* x, const float* w, int64_t length, float* c, int64_t ldc, bool adds) {
  Floats sum[Rows][2];
#pragma GCC unroll 8
  for (int i = 0; i < Rows; ++i) {
    sum[i][0] = sum[i][1] = lanes::all(0);
    // The sums are long: the lines that take them come meanwhile.
    __builtin_prefetch(c + i * ldc, 1, 3);
    __builtin_prefetch(c + i * ldc + kTileColumns - 1, 1, 3);
  }
  for (int64_t k = 0; k < length; ++k, x += kTileRows, w += kTileColumns) {
    const Floats first = lanes::load(w), second = lanes::load(w + kWidth);
#pragma GCC unroll 8
    for (int i = 0; i < Rows; ++i) {
      const Floats xi = lanes::all(x[i]);
      sum[i][0] += xi * first;
      sum[i][1] += xi * second;
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < Rows; ++i) {
    float* line = c + i * ldc;
    if (adds) sum[i][0] += lanes::load(line), sum[i][1] += lanes::load(line + kWidth);
    lanes::store(line, sum[i][0]);
    lanes::store(line + kWidth, sum[i][1]);
  }
}

template <class Number>
struct PanelProduct {
  PanelSource<float> x;
  PanelSource<Number> w;
  const float* bias;  // null: none
  float* y;
  int64_t rows, columns, inner;
};

// Some rows over a part of the inner dimension, with their panels of x.
struct PanelBlock {
  int64_t first_row, rows, first, length;
  const float* x;
};

// A tile that may reach beyond the last row or column. The bias is what the first part of the sums is added to.
template <class Number>
TA_INLINE void one_tile(const PanelProduct<Number>& p, const PanelBlock& b, int64_t i, int64_t j, const float* w) {
  const int64_t rows = std::min(kTileRows, b.rows - i), columns = std::min(kTileColumns, p.columns - j);
  const float* x = b.x + i * b.length;
  float* c = p.y + (b.first_row + i) * p.columns + j;
  const bool adds = b.first > 0 || p.bias != nullptr;
  if (b.first == 0 && p.bias != nullptr) {
    for (int64_t r = 0; r < rows; ++r) std::copy_n(p.bias + j, columns, c + r * p.columns);
  }
  if (columns == kTileColumns) {
    if (rows == kTileRows) return full_tile<kTileRows>(x, w, b.length, c, p.columns, adds);
    if (rows == 4) return full_tile<4>(x, w, b.length, c, p.columns, adds);  // the end of rows by the power of two
    if (rows == 2) return full_tile<2>(x, w, b.length, c, p.columns, adds);
  }
  alignas(32) float whole[kTileRows * kTileColumns];
  full_tile<kTileRows>(x, w, b.length, whole, kTileColumns, false);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t q = 0; q < columns; ++q) {
      float& value = c[r * p.columns + q];
      value = whole[r * kTileColumns + q] + (adds ? value : 0.0F);
    }
  }
}

// Part `part` of `parts` of the next tile's columns of w, into the second cache: they are short pieces of many lines,
// whose first numbers the processor would wait for.
template <class Number>
TA_INLINE void prefetch_part(PanelSource<Number> from, bool dense_rows, int64_t length, int64_t part, int64_t parts) {
  constexpr int64_t kLine = 64 / sizeof(Number);
  const int64_t pieces = dense_rows ? length / kLine : length, step = dense_rows ? kLine : from.inner;
  for (int64_t piece = pieces * part / parts; piece < pieces * (part + 1) / parts; ++piece) {
    for (int64_t line = 0; line < (dense_rows ? kTileColumns : 1); ++line) {
      __builtin_prefetch(from.data + line * from.row + piece * step, 0, 2);
    }
  }
}

// All rows of a block with columns from .. to - 1.
template <class Number>
TA_LANES void tiles_of_block(const PanelProduct<Number>& p, const PanelBlock& b, int64_t from, int64_t to) {
  alignas(64) float w[kPanelLength * kTileColumns];
  const bool dense_rows = p.w.inner == 1;
  const int64_t tiles = (b.rows + kTileRows - 1) / kTileRows;
  for (int64_t j = from; j < to; j += kTileColumns) {
    const auto source = p.w.from(j, b.first);
    const int64_t columns = std::min(kTileColumns, p.columns - j);
    if (dense_rows) {
      pack_rows<kTileColumns>(source, columns, b.length, w);
    } else {
      pack_columns(source, columns, b.length, w);
    }
    for (int64_t t = 0; t < tiles; ++t) {
      if (j + kTileColumns < to) prefetch_part(p.w.from(j + kTileColumns, b.first), dense_rows, b.length, t, tiles);
      one_tile(p, b, t * kTileRows, j, w);
    }
  }
}

template <class Number>
TA_LANES void pack_block(const PanelProduct<Number>& p, const PanelBlock& b, float* to) {
  for (int64_t i = 0; i < b.rows; i += kTileRows) {
    pack_rows<kTileRows>(p.x.from(b.first_row + i, b.first), std::min(kTileRows, b.rows - i), b.length,
                         to + i * b.length);
  }
}

// As large as the largest block: a thread that computes products keeps it.
float* panels_of_x() {
  // The last turned line is written whole.
  static thread_local const auto memory = std::make_unique<float[]>(kPanelRows * kPanelLength + kWidth);
  return memory.get();
}

template <class Number>
void compute_panels(const PanelProduct<Number>& p) {
  float* x = panels_of_x();
  const int64_t parts = (p.inner + kPanelLength - 1) / kPanelLength;
  const int64_t length = round_up((p.inner + parts - 1) / parts, kWidth);
  const int64_t across = (p.columns + kTileColumns - 1) / kTileColumns;
  for (int64_t row = 0; row < p.rows; row += kPanelRows) {
    for (int64_t first = 0; first < p.inner; first += length) {
      const PanelBlock b{row, std::min(kPanelRows, p.rows - row), first, std::min(length, p.inner - first), x};
      pack_block(p, b, x);
      const int64_t grain = std::max<int64_t>(1, kWorthAThread / (b.rows * b.length * kTileColumns));
      parallel_for(0, across, grain, [&](int64_t begin, int64_t end) {
        tiles_of_block(p, b, begin * kTileColumns, std::min(p.columns, end * kTileColumns));
      });
    }
  }
}

bool is_matrix(const at::Tensor& x) {
  return x.dim() == 2 && x.device().is_cpu();
}

template <class Number>
PanelSource<Number> source_of(const at::Tensor& x, const Number* numbers) {
  // Of one row or one column any stride may be named.
  const bool dense_rows = x.stride(1) == 1 || x.size(1) == 1;
  return {numbers, dense_rows ? x.stride(0) : 1, dense_rows ? 1 : x.stride(1)};
}

}  // namespace

bool panel_product_runs(const at::Tensor& x, const at::Tensor& w) {
  return lanes::fast() && is_matrix(x) && is_matrix(w) && x.scalar_type() == at::kFloat && lanes::reads(w) &&
         x.size(1) > 0 && (x.stride(1) == 1 || x.size(1) == 1) &&
         (w.stride(1) == 1 || w.size(1) == 1 || w.stride(0) == 1 || w.size(0) == 1);
}

at::Tensor panel_product(const at::Tensor& x, const at::Tensor& w, const at::Tensor& bias) {
  auto y = at::empty({x.size(0), w.size(0)}, x.options());
  const auto b = bias.defined() ? bias.contiguous() : bias;
  lanes::with_numbers(w, [&]<class Number>(const Number* numbers) {
    compute_panels(PanelProduct<Number>{source_of(x, x.const_data_ptr<float>()), source_of(w, numbers),
                                        b.defined() ? b.const_data_ptr<float>() : nullptr, y.mutable_data_ptr<float>(),
                                        x.size(0), w.size(0), x.size(1)});
  });
  return y;
}

#else

bool panel_product_runs(const at::Tensor&, const at::Tensor&) {
  return false;
}
at::Tensor panel_product(const at::Tensor&, const at::Tensor&, const at::Tensor&) {
  return {};
}

#endif

}  // namespace ta
