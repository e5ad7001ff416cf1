#include "core/nn/wide_product.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cstring>

#include "core/nn/parallel.h"
#include "core/nn/wide_tile.h"

namespace ta {

#if TA_HAS_WIDE_TILE

namespace {

constexpr int64_t kWorthAPart = 1'000'000;

struct WideProduct {
  const float *x, *w, *bias;  // bias null: none
  float* y;
  int64_t ldx, ldw, rows, columns, inner;
};

int64_t panels_of(int64_t n) {
  return (n + wide::kTileColumns - 1) / wide::kTileColumns;
}
// use(vectors, first) of each panel of n numbers.
template <class Use>
TA_WIDE_INLINE void for_panels(int64_t n, const Use& use) {
  int64_t left = (n + wide::kWidth - 1) / wide::kWidth;
  for (int64_t first = 0; left > 0;) {
    const int64_t vectors = wide::next_panel(left);
    use(vectors, first);
    first += vectors * wide::kWidth, left -= vectors;
  }
}

// ---- w's rows are dense: x is copied in panels, its rows along the vectors, and eight rows of w are read in place
// ----

// Two tiles side by side fill the lines of y.
constexpr int64_t kPair = 2 * wide::kTileRows;
// So much of the inner dimension at a time: a tile's rows of w stay in the first cache,
constexpr int64_t kPartLength = 768;
// and the panels of so many rows of x in the second.
constexpr int64_t kBlockRows = wide::kScratch / kPartLength;

// Rows of x as a panel: number k of row i at to[k · width + i], zeros in rows that are not there.
TA_WIDE void pack_panel(const float* x, int64_t ldx, int64_t rows, int64_t length, int64_t width, float* to) {
  for (int64_t first = 0; first < width; first += lanes::kWidth) {
    for (int64_t k = 0; k < length; k += lanes::kWidth) {
      lanes::Floats v[lanes::kWidth];
#pragma GCC unroll 8
      for (int i = 0; i < lanes::kWidth; ++i)
        v[i] = first + i < rows ? lanes::load(x + (first + i) * ldx + k) : lanes::all(0);
      lanes::transpose(v);
#pragma GCC unroll 8
      for (int i = 0; i < lanes::kWidth; ++i) lanes::store(to + (k + i) * width + first, v[i]);
    }
  }
}

// Some rows over a part of the inner dimension, with their panels.
struct RowBlock {
  int64_t first_row, rows, first, length;
  const float* panels;
};

TA_WIDE void pack_rows(const WideProduct& p, const RowBlock& b, float* to) {
  for_panels(b.rows, [&](int64_t vectors, int64_t row) TA_WIDE {
    const float* x = p.x + (b.first_row + row) * p.ldx + b.first;
    pack_panel(x, p.ldx, b.rows - row, b.length, vectors * wide::kWidth, to + row * b.length);
  });
}

// y [rows, 16] = sums [16, width], or what is there and the sums; the bias comes with the first part.
TA_WIDE void put_pair(const WideProduct& p, const RowBlock& b, int64_t row, int64_t width, int64_t j,
                      const float* sums) {
  float* y = p.y + (b.first_row + row) * p.columns + j;
  const int64_t rows = std::min(width, b.rows - row);
  for (int64_t half = 0; half < kPair; half += lanes::kWidth, y += lanes::kWidth) {
    const auto start = b.first == 0 && p.bias != nullptr ? lanes::load(p.bias + j + half) : lanes::all(0);
    for (int64_t first = 0; first < rows; first += lanes::kWidth) {
      lanes::Floats lines[lanes::kWidth];
#pragma GCC unroll 8
      for (int c = 0; c < lanes::kWidth; ++c) lines[c] = lanes::load(sums + (half + c) * width + first);
      lanes::transpose(lines);
#pragma GCC unroll 8
      for (int i = 0; i < lanes::kWidth; ++i) {
        if (first + i >= rows) break;
        float* to = y + (first + i) * p.columns;
        lanes::store(to, lines[i] + (b.first > 0 ? lanes::load(to) : start));
      }
    }
  }
}

// All rows of a block with columns from .. to - 1.
TA_WIDE void block_columns(const WideProduct& p, const RowBlock& b, int64_t from, int64_t to) {
  alignas(64) float sums[kPair * wide::kTileColumns];
  for (int64_t j = from; j < to; j += kPair) {
    const float* w = p.w + j * p.ldw + b.first;
    // Lines that the next columns read, then those that they write.
    const bool more = j + kPair < to;
    const int64_t requests = 2 * panels_of(b.rows) * (b.length / 4) - b.rows;
    auto reads = wide::Fetch::of(w + kPair * p.ldw, more ? kPair : 0, b.length, p.ldw, requests);
    auto writes = wide::Fetch::of(p.y + b.first_row * p.columns + j + kPair, more ? b.rows : 0, kPair, p.columns, 0);
    for_panels(b.rows, [&](int64_t vectors, int64_t row) TA_WIDE {
      const int64_t width = vectors * wide::kWidth;
      for (int64_t half = 0; half < kPair; half += wide::kTileRows) {
        wide::multiply(vectors,
                       {.rows = w + half * p.ldw,
                        .panel = b.panels + row * b.length,
                        .y = sums + half * width,
                        .ld_rows = p.ldw,
                        .ld_y = width,
                        .length = b.length,
                        .adds = false},
                       reads.left > 0 ? reads : writes);
      }
      put_pair(p, b, row, width, j, sums);
    });
  }
}

void product_of_rows(const WideProduct& p) {
  float* panels = wide::scratch();
  const int64_t height = wide::even_part(p.rows, kBlockRows, wide::kTileColumns);
  const int64_t length = wide::even_part(p.inner, kPartLength, wide::kLine);
  for (int64_t row = 0; row < p.rows; row += height) {
    for (int64_t first = 0; first < p.inner; first += length) {
      const RowBlock b{row, std::min(height, p.rows - row), first, std::min(length, p.inner - first), panels};
      pack_rows(p, b, panels);
      const int64_t grain = std::max<int64_t>(1, kWorthAPart / (b.rows * b.length * kPair));
      parallel_for(0, p.columns / kPair, grain,
                   [&](int64_t begin, int64_t end) { block_columns(p, b, begin * kPair, end * kPair); });
    }
  }
}

// ---- w's columns are dense: w is copied in panels, its columns along the vectors, and x's rows are read in place ----

// A chunk of w stays in the second cache, the rows of x that meet it in the first.
constexpr int64_t kChunkLength = 192, kChunkColumns = 384;
static_assert(kChunkLength * (kChunkColumns + wide::kWidth) <= wide::kScratch);

struct Chunk {
  int64_t first, length, column, columns;
  float* panels;
};

// w [length, columns] as panels: line k of each at to[k · width].
TA_WIDE void pack_chunk(const WideProduct& p, const Chunk& c) {
  for_panels(c.columns, [&](int64_t vectors, int64_t j) TA_WIDE {
    const float* w = p.w + c.first * p.ldw + c.column + j;
    float* to = c.panels + j * c.length;
    for (int64_t k = 0; k < c.length; ++k, w += p.ldw, to += vectors * wide::kWidth) {
      for (int64_t v = 0; v < vectors * wide::kWidth; v += wide::kWidth) wide::store(to + v, wide::load(w + v));
    }
  });
}

// The last rows, fewer than eight, beside zeros.
TA_WIDE void last_rows(const WideProduct& p, const Chunk& c, int64_t row, wide::Fetch& fetch) {
  alignas(64) float x[wide::kTileRows * kChunkLength] = {}, sums[wide::kTileRows * wide::kTileColumns];
  const int64_t rows = p.rows - row;
  for (int64_t i = 0; i < rows; ++i)
    std::memcpy(x + i * c.length, p.x + (row + i) * p.ldx + c.first, c.length * sizeof(float));
  for_panels(c.columns, [&](int64_t vectors, int64_t j) TA_WIDE {
    const int64_t width = vectors * wide::kWidth;
    float* y = p.y + row * p.columns + c.column + j;
    const bool adds = c.first > 0 || p.bias != nullptr;
    for (int64_t i = 0; adds && i < rows; ++i) std::memcpy(sums + i * width, y + i * p.columns, width * sizeof(float));
    wide::multiply(vectors, {x, c.panels + j * c.length, sums, c.length, width, c.length, adds}, fetch);
    for (int64_t i = 0; i < rows; ++i) std::memcpy(y + i * p.columns, sums + i * width, width * sizeof(float));
  });
}

TA_WIDE void chunk_rows(const WideProduct& p, const Chunk& c, wide::Fetch& fetch) {
  int64_t row = 0;
  for (; row + wide::kTileRows <= p.rows; row += wide::kTileRows) {
    for_panels(c.columns, [&](int64_t vectors, int64_t j) TA_WIDE {
      wide::multiply(vectors,
                     {.rows = p.x + row * p.ldx + c.first,
                      .panel = c.panels + j * c.length,
                      .y = p.y + row * p.columns + c.column + j,
                      .ld_rows = p.ldx,
                      .ld_y = p.columns,
                      .length = c.length,
                      .adds = c.first > 0 || p.bias != nullptr},
                     fetch);
    });
  }
  if (row < p.rows) last_rows(p, c, row, fetch);
}

// The next chunk's, with `left` columns to go: a last one of a single vector would have no panel.
int64_t chunk_width(int64_t left) {
  const int64_t width = std::min(left, kChunkColumns);
  return left - width == wide::kWidth ? width - wide::kWidth : width;
}

// All rows with columns from .. to - 1.
void columns_of_product(const WideProduct& p, int64_t from, int64_t to) {
  if (p.bias != nullptr) {
    for (int64_t i = 0; i < p.rows; ++i)
      std::memcpy(p.y + i * p.columns + from, p.bias + from, (to - from) * sizeof(float));
  }
  const int64_t length = wide::even_part(p.inner, kChunkLength, wide::kLine);
  for (int64_t column = from, width = 0; column < to; column += width) {
    width = chunk_width(to - column);
    const int64_t beside = chunk_width(to - column - width);
    for (int64_t first = 0; first < p.inner; first += length) {
      const Chunk c{first, std::min(length, p.inner - first), column, width, wide::scratch()};
      pack_chunk(p, c);
      const int64_t requests = (p.rows + wide::kTileRows - 1) / wide::kTileRows * panels_of(width) * (c.length / 4);
      const int64_t next = first + length;
      const bool below = next < p.inner;
      const float* from = below ? p.w + next * p.ldw + column : p.w + column + width;
      const int64_t rows = below ? std::min(length, p.inner - next) : beside > 0 ? length : 0;
      auto fetch = wide::Fetch::of(from, rows, below ? width : beside, p.ldw, requests);
      chunk_rows(p, c, fetch);
    }
  }
}

void product_of_columns(const WideProduct& p) {
  constexpr int64_t kPart = 2 * wide::kWidth;
  const int64_t parts = p.columns / kPart;
  const int64_t grain = std::max<int64_t>(1, kWorthAPart / std::max<int64_t>(1, p.rows * p.inner * kPart));
  parallel_for(0, parts, grain, [&](int64_t begin, int64_t end) {
    columns_of_product(p, begin * kPart, end == parts ? p.columns : end * kPart);
  });
}

}  // namespace

bool wide_product_runs(const at::Tensor& x, const at::Tensor& w) {
  if (!wide::fast() || !wide::is_float_matrix(x) || !wide::is_float_matrix(w) || x.stride(1) != 1) return false;
  if (x.size(1) == 0 || x.size(1) % wide::kLine != 0 || w.size(0) % kPair != 0) return false;
  return w.stride(1) == 1 || (wide::are_columns_dense(w) && w.size(0) >= 2 * wide::kWidth);
}

at::Tensor wide_product(const at::Tensor& x, const at::Tensor& w, const at::Tensor& bias) {
  auto y = at::empty({x.size(0), w.size(0)}, x.options());
  const auto b = bias.defined() ? bias.contiguous() : bias;
  const bool rows = w.stride(1) == 1;
  const WideProduct p{x.const_data_ptr<float>(),
                      w.const_data_ptr<float>(),
                      b.defined() ? b.const_data_ptr<float>() : nullptr,
                      y.mutable_data_ptr<float>(),
                      x.stride(0),
                      w.stride(rows ? 0 : 1),
                      x.size(0),
                      w.size(0),
                      x.size(1)};
  rows ? product_of_rows(p) : product_of_columns(p);
  return y;
}

#else

bool wide_product_runs(const at::Tensor&, const at::Tensor&) {
  return false;
}
at::Tensor wide_product(const at::Tensor&, const at::Tensor&, const at::Tensor&) {
  return {};
}

#endif

}  // namespace ta
