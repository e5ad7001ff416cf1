#pragma once
// The innermost product of AVX-512, in registers: eight rows of one matrix, read where they lie, one number at a time,
// times a panel of another, whose numbers lie as they are read. Written in assembly, since a compiler's choice of
// registers decides whether 24 sums stay in them; 94 % of what the processor can multiply and add.
// What the caller reads next is fetched from memory meanwhile.

#include <algorithm>
#include <cstdint>
#include <memory>

#include "core/nn/lanes.h"

#if TA_HAS_LANES && defined(__x86_64__)
#define TA_HAS_WIDE_TILE 1
#define TA_WIDE __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")))
#define TA_WIDE_INLINE TA_WIDE inline __attribute__((always_inline))

namespace ta::wide {

using Floats = float __attribute__((vector_size(64)));

/// True where this processor has what TA_WIDE asks for, as lanes::fast.
inline bool fast() {
  static const bool answer = at::get_cpu_capability() == "AVX512";
  return answer;
}

constexpr int64_t kWidth = 16, kLine = 16;  // numbers in a vector, in a line of the cache
constexpr int64_t kTileRows = 8;
constexpr int64_t kMostVectors = 3;  // of a panel: 24 sums, three numbers of it and four of the rows fill the registers
constexpr int64_t kTileColumns = kMostVectors * kWidth;

/// A part of a matrix, row by row, to be fetched: at each four steps of the tiles that share it one line is asked for,
/// or, where there are steps enough, half a line, which keeps the ways to memory free for the sums.
struct Fetch {
  const float* next;
  int64_t in_row, of_row;  ///< requests left in this row, in each
  int64_t bytes, jump;     ///< from a request to the next, and from a row's end besides
  int64_t left;            ///< requests; where none are, the panel's own lines are asked for, which costs nothing

  /// length: of rows, in numbers, a multiple of 16; stride: from a row to the next; requests: that there will be.
  static Fetch of(const float* from, int64_t rows, int64_t length, int64_t stride, int64_t requests) {
    const int64_t lines = length / kLine, share = 2 * rows * lines <= requests ? 2 : 1;
    return {from, share * lines, share * lines, 64 / share, (stride - length) * 4, share * rows * lines};
  }
};

/// y [8, 16 vectors] = rows [8, length] · panel [length, 16 vectors], or what is there and that. vectors 2 or 3; length
/// a multiple of 16; ld: numbers from a row to the next.
struct Tile {
  const float *rows, *panel;
  float* y;
  int64_t ld_rows, ld_y, length;
  bool adds;
};
void multiply(int64_t vectors, const Tile& tile, Fetch& fetch);

/// n vectors in panels of three and two: how many the next one has. A single one counts as two.
inline int64_t next_panel(int64_t vectors) {
  return vectors <= 2 || vectors == 4 ? 2 : 3;
}

/// n in parts of about one size, a multiple of `of` and at most `most`.
inline int64_t even_part(int64_t n, int64_t most, int64_t of) {
  const int64_t parts = std::max<int64_t>(1, (n + most - 1) / most);
  return ((n + parts - 1) / parts + of - 1) / of * of;
}
inline bool is_float_matrix(const at::Tensor& x) {
  return x.dim() == 2 && x.device().is_cpu() && x.scalar_type() == at::kFloat;
}

inline bool are_columns_dense(const at::Tensor& w) {
  return w.stride(0) == 1 && w.stride(1) >= w.size(0);
}

/// Memory that a thread which computes products keeps, at a line's start; one for each Use, as large as it was first
/// asked for. What is not written takes no place.
template <class Use, class Number>
Number* kept(int64_t numbers) {
  static thread_local const auto memory = std::make_unique_for_overwrite<Number[]>(numbers + 64 / sizeof(Number));
  const auto address = reinterpret_cast<std::uintptr_t>(memory.get());
  return memory.get() + (64 - address % 64) % 64 / sizeof(Number);
}
/// The products' of vectors.
float* scratch();
constexpr int64_t kScratch = 288 * 768;

TA_WIDE_INLINE Floats load(const float* p) {
  Floats v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
TA_WIDE_INLINE void store(float* p, Floats v) {
  std::memcpy(p, &v, sizeof v);
}

}  // namespace ta::wide

#endif
