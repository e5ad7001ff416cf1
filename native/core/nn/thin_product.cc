#include "core/nn/thin_product.h"

#include <algorithm>
#include <cstring>

#include "core/nn/lanes.h"
#include "core/nn/wide_tile.h"

namespace ta::thin {

#if TA_HAS_LANES

namespace {

// A tile's rows of x and of w stay in the first cache.
constexpr int64_t kInner = 1024;

namespace eight {
#define TA_TILE_ISA TA_LANES
#define TA_TILE_WIDTH 8
#define TA_DOT_COLUMNS 3
#define TA_LINE_ROWS 4
#define TA_LINE_VECTORS 2
#include "core/nn/thin_tiles.h"
}  // namespace eight

#if TA_HAS_WIDE_TILE
namespace sixteen {
#define TA_TILE_ISA TA_WIDE
#define TA_TILE_WIDTH 16
#define TA_DOT_COLUMNS 4
#define TA_LINE_ROWS 8
#define TA_LINE_VECTORS 3
#include "core/nn/thin_tiles.h"
}  // namespace sixteen
#endif

TA_LANES void turn_lanes(int64_t rows, int64_t columns, Matrix x, Output y, bool adds) {
  constexpr int64_t kWidth = lanes::kWidth;
  const int64_t whole_rows = rows / kWidth * kWidth, whole_columns = columns / kWidth * kWidth;
  const auto put = [&](int64_t i, int64_t j) TA_LANES {
    float& value = y.data[j * y.ld + i];
    value = x.data[i * x.ld + j] + (adds ? value : 0.0F);
  };
  for (int64_t i = 0; i < whole_rows; i += kWidth) {
    for (int64_t j = 0; j < whole_columns; j += kWidth) {
      lanes::Floats v[kWidth];
#pragma GCC unroll 8
      for (int q = 0; q < kWidth; ++q) v[q] = lanes::load(x.data + (i + q) * x.ld + j);
      lanes::transpose(v);
#pragma GCC unroll 8
      for (int q = 0; q < kWidth; ++q) {
        float* to = y.data + (j + q) * y.ld + i;
        lanes::store(to, adds ? v[q] + lanes::load(to) : v[q]);
      }
    }
    for (int64_t q = i; q < i + kWidth; ++q) {
      for (int64_t j = whole_columns; j < columns; ++j) put(q, j);
    }
  }
  for (int64_t i = whole_rows; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) put(i, j);
  }
}

}  // namespace

bool runs() {
  return lanes::fast();
}

void dot_rows(const Sides& sides, Matrix x, Matrix w, float scale, Output y, bool adds) {
  auto* part = eight::dot_part;
#if TA_HAS_WIDE_TILE
  if (wide::fast()) part = sixteen::dot_part;
#endif
  for (int64_t first = 0; first < sides.inner; first += kInner) {
    part({sides.rows, sides.columns, std::min(kInner, sides.inner - first)}, {x.data + first, x.ld},
         {w.data + first, w.ld}, scale, y, adds || first > 0);
  }
}

void combine_rows(const Sides& sides, Strided a, Matrix w, Output y, bool adds) {
#if TA_HAS_WIDE_TILE
  if (wide::fast()) return sixteen::combine_part(sides, a, w, y, adds);
#endif
  eight::combine_part(sides, a, w, y, adds);
}

void turn(int64_t rows, int64_t columns, Matrix x, Output y, bool adds) {
  turn_lanes(rows, columns, x, y, adds);
}

#else

bool runs() {
  return false;
}
void dot_rows(const Sides&, Matrix, Matrix, float, Output, bool) {}
void combine_rows(const Sides&, Strided, Matrix, Output, bool) {}
void turn(int64_t, int64_t, Matrix, Output, bool) {}

#endif

}  // namespace ta::thin
