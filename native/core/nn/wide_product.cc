#include "core/nn/wide_product.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "core/nn/lanes.h"

namespace ta {

#if TA_HAS_LANES && defined(__x86_64__)

#define TA_WIDE __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")))
#define TA_WIDE_INLINE TA_WIDE inline __attribute__((always_inline))

namespace {

using Wide = float __attribute__((vector_size(64)));

constexpr int64_t kWideLanes = 16, kLine = 16;  // numbers in a vector, in a line of the cache
// A tile: 24 sums, three vectors of x and one number of w fill the registers.
constexpr int kStripColumns = 8, kStripVectors = 3;
constexpr int64_t kStripRows = kStripVectors * kWideLanes;
// Two tiles side by side fill the lines of y.
constexpr int64_t kPair = 2 * kStripColumns;
// So much of the inner dimension at a time: a tile's rows of w stay in the first cache,
constexpr int64_t kStripLength = 768;
// and the panels of so many rows of x in the second.
constexpr int64_t kBlockRows = 6 * kStripRows;
constexpr int64_t kWorthAPart = 1'000'000;

TA_WIDE_INLINE Wide wide_load(const float* p) {
  Wide v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
TA_WIDE_INLINE void wide_store(float* p, Wide v) {
  std::memcpy(p, &v, sizeof v);
}
TA_WIDE_INLINE Wide wide_all(float x) {
  return Wide{x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x};
}

// Lines of rows that are read next, asked for one at a time.
struct Fetch {
  const float* line;
  int64_t in_row, of_row, jump, left;  // lines behind in this row, of a whole one; from a row's end to the next

  TA_WIDE_INLINE void one() {
    if (left == 0) return;
    __builtin_prefetch(line, 0, 2);
    line += kLine, --left;
    if (++in_row == of_row) in_row = 0, line += jump;
  }
};

// Rows of x as a panel: number k of row i at to[k · 16 Vectors + i], zeros in rows that are not there.
template <int Vectors>
TA_WIDE void pack_strip(const float* x, int64_t ldx, int64_t rows, int64_t length, float* to) {
  constexpr int64_t kRows = Vectors * kWideLanes;
  for (int64_t first = 0; first < kRows; first += lanes::kWidth) {
    for (int64_t k = 0; k < length; k += lanes::kWidth) {
      lanes::Floats v[lanes::kWidth];
#pragma GCC unroll 8
      for (int i = 0; i < lanes::kWidth; ++i)
        v[i] = first + i < rows ? lanes::load(x + (first + i) * ldx + k) : lanes::all(0);
      lanes::transpose(v);
#pragma GCC unroll 8
      for (int i = 0; i < lanes::kWidth; ++i) lanes::store(to + (k + i) * kRows + first, v[i]);
    }
  }
}

// y [16 Vectors, 8], lines kPair apart = a panel of x times eight rows of w.
template <int Vectors>
TA_WIDE void strip_tile(const float* x, const float* w, int64_t ldw, int64_t length, float* y, Fetch& fetch) {
  Wide sum[kStripColumns][Vectors];
#pragma GCC unroll 8
  for (int c = 0; c < kStripColumns; ++c) {
#pragma GCC unroll 3
    for (int v = 0; v < Vectors; ++v) sum[c][v] = wide_all(0);
  }
  const float* half = w + 4 * ldw;
  for (int64_t k = 0; k < length; k += 4) {
    fetch.one();
#pragma GCC unroll 4
    for (int u = 0; u < 4; ++u, ++w, ++half, x += Vectors * kWideLanes) {
      Wide xs[Vectors];
#pragma GCC unroll 3
      for (int v = 0; v < Vectors; ++v) xs[v] = wide_load(x + v * kWideLanes);
#pragma GCC unroll 8
      for (int c = 0; c < kStripColumns; ++c) {
        const Wide one = wide_all(c < 4 ? w[c * ldw] : half[(c - 4) * ldw]);
#pragma GCC unroll 3
        for (int v = 0; v < Vectors; ++v) sum[c][v] += one * xs[v];
      }
    }
  }
#pragma GCC unroll 3
  for (int v = 0; v < Vectors; ++v) {
#pragma GCC unroll 2
    for (int upper = 0; upper < 2; ++upper) {
      lanes::Floats lines[lanes::kWidth];
#pragma GCC unroll 8
      for (int c = 0; c < kStripColumns; ++c)
        std::memcpy(&lines[c], reinterpret_cast<const char*>(&sum[c][v]) + upper * sizeof lines[c], sizeof lines[c]);
      lanes::transpose(lines);
      float* to = y + (v * kWideLanes + upper * lanes::kWidth) * kPair;
#pragma GCC unroll 8
      for (int i = 0; i < lanes::kWidth; ++i) lanes::store(to + i * kPair, lines[i]);
    }
  }
}

struct WideProduct {
  const float *x, *w, *bias;  // bias null: none
  float* y;
  int64_t ldx, ldw, rows, columns, inner;
};

// Some rows over a part of the inner dimension, with their panels.
struct WideBlock {
  int64_t first_row, rows, first, length;
  const float* panels;
};

// y [rows, 16] = sums, or what is there and the sums; the bias comes with the first part.
TA_WIDE void put_pair(const WideProduct& p, const WideBlock& b, int64_t row, int64_t rows, int64_t j,
                      const float* sums) {
  float* y = p.y + (b.first_row + row) * p.columns + j;
  const bool adds = b.first > 0;
  const Wide start = !adds && p.bias != nullptr ? wide_load(p.bias + j) : wide_all(0);
  for (int64_t i = 0; i < rows; ++i, y += p.columns, sums += kPair) {
    const Wide before = adds ? wide_load(y) : start;
    wide_store(y, wide_load(sums) + before);
  }
}

// All rows of a block with columns from .. to - 1.
TA_WIDE void strips_of_block(const WideProduct& p, const WideBlock& b, int64_t from, int64_t to) {
  alignas(64) float sums[kStripRows * kPair];
  for (int64_t j = from; j < to; j += kPair) {
    const float* w = p.w + j * p.ldw + b.first;
    Fetch fetch{w + kPair * p.ldw, 0, b.length / kLine, p.ldw - b.length, j + kPair < to ? b.length : 0};
    for (int64_t row = 0; row < b.rows; row += kStripRows) {
      const int64_t rows = std::min(kStripRows, b.rows - row);
      const float* x = b.panels + row * b.length;
      for (int64_t i = 0; i < rows; ++i) __builtin_prefetch(p.y + (b.first_row + row + i) * p.columns + j, 1, 3);
      for (int64_t half = 0; half < kPair; half += kStripColumns) {
        const float* ws = w + half * p.ldw;
        if (rows > 2 * kWideLanes) {
          strip_tile<3>(x, ws, p.ldw, b.length, sums + half, fetch);
        } else if (rows > kWideLanes) {
          strip_tile<2>(x, ws, p.ldw, b.length, sums + half, fetch);
        } else {
          strip_tile<1>(x, ws, p.ldw, b.length, sums + half, fetch);
        }
      }
      put_pair(p, b, row, rows, j, sums);
    }
  }
}

TA_WIDE void pack_panels(const WideProduct& p, const WideBlock& b, float* to) {
  for (int64_t row = 0; row < b.rows; row += kStripRows, to += kStripRows * b.length) {
    const int64_t rows = std::min(kStripRows, b.rows - row);
    const float* x = p.x + (b.first_row + row) * p.ldx + b.first;
    if (rows > 2 * kWideLanes) {
      pack_strip<3>(x, p.ldx, rows, b.length, to);
    } else if (rows > kWideLanes) {
      pack_strip<2>(x, p.ldx, rows, b.length, to);
    } else {
      pack_strip<1>(x, p.ldx, rows, b.length, to);
    }
  }
}

// As large as the largest block: a thread that computes products keeps it.
float* wide_panels() {
  static thread_local const auto memory = std::make_unique<float[]>(kBlockRows * kStripLength + kLine);
  const auto address = reinterpret_cast<std::uintptr_t>(memory.get());
  return memory.get() + (64 - address % 64) % 64 / sizeof(float);
}

// n in parts of about one size, a multiple of `of` and at most `most`.
int64_t even_part(int64_t n, int64_t most, int64_t of) {
  const int64_t parts = std::max<int64_t>(1, (n + most - 1) / most);
  return ((n + parts - 1) / parts + of - 1) / of * of;
}

void compute_wide(const WideProduct& p) {
  float* panels = wide_panels();
  const int64_t height = even_part(p.rows, kBlockRows, kStripRows), length = even_part(p.inner, kStripLength, kLine);
  for (int64_t row = 0; row < p.rows; row += height) {
    for (int64_t first = 0; first < p.inner; first += length) {
      const WideBlock b{row, std::min(height, p.rows - row), first, std::min(length, p.inner - first), panels};
      pack_panels(p, b, panels);
      const int64_t grain = std::max<int64_t>(1, kWorthAPart / (b.rows * b.length * kPair));
      at::parallel_for(0, p.columns / kPair, grain,
                       [&](int64_t begin, int64_t end) { strips_of_block(p, b, begin * kPair, end * kPair); });
    }
  }
}

bool has_wide_rows(const at::Tensor& x) {
  return x.dim() == 2 && x.device().is_cpu() && x.scalar_type() == at::kFloat && x.stride(1) == 1;
}

}  // namespace

bool wide_product_runs(const at::Tensor& x, const at::Tensor& w) {
  static const bool wide = at::get_cpu_capability() == "AVX512";
  return wide && has_wide_rows(x) && has_wide_rows(w) && x.size(1) > 0 && x.size(1) % kLine == 0 &&
         w.size(0) % kPair == 0;
}

at::Tensor wide_product(const at::Tensor& x, const at::Tensor& w, const at::Tensor& bias) {
  auto y = at::empty({x.size(0), w.size(0)}, x.options());
  const auto b = bias.defined() ? bias.contiguous() : bias;
  compute_wide({x.const_data_ptr<float>(), w.const_data_ptr<float>(), b.defined() ? b.const_data_ptr<float>() : nullptr,
                y.mutable_data_ptr<float>(), x.stride(0), w.stride(0), x.size(0), w.size(0), x.size(1)});
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
