#pragma once
// float32 products by tiles of bfloat16, on processors with AMX (Intel's since Sapphire Rapids). A float32 number is
// the sum of three bfloat16 numbers, exactly; of the nine products of two numbers' parts six are summed, in float32,
// and what is left out is below 2^-25 of the product: less than the rounding of a float32 sum (Henry, Tang and Heinecke
// 2019, "Leveraging the bfloat16 Artificial Intelligence Datatype For Higher-Precision Computations", the case of three
// parts). The tiles multiply sixteen times as much as vectors of float32 do, so six products of theirs take less than
// half of one.

#include <cstdint>

#include "core/nn/wide_tile.h"

#if TA_HAS_WIDE_TILE && defined(__linux__) && (defined(__clang__) ? __clang_major__ >= 12 : __GNUC__ >= 11)
#define TA_HAS_AMX_TILE 1

#include <immintrin.h>

#define TA_AMX __attribute__((target("amx-tile,amx-bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")))
#define TA_AMX_HERE TA_AMX __attribute__((always_inline))
#define TA_AMX_INLINE TA_AMX_HERE inline

namespace ta::amx {

constexpr int64_t kParts = 3;
constexpr int64_t kTileRows = 16, kTileNumbers = 512;  // a tile: 16 lines of 32 bfloat16
constexpr int64_t kSide = 2 * kTileRows;               // of a panel: two tiles
constexpr int64_t kStep = 32;                          // of the inner dimension, in a tile
constexpr int64_t kPartNumbers = 2 * kTileNumbers;     // a step of a panel: for each part its two tiles
constexpr int64_t kStepNumbers = kParts * kPartNumbers;

/// True where this processor has AMX for bfloat16 and this process may use it (and libtorch was not told to do without:
/// ATEN_CPU_CAPABILITY).
bool fast();

/// While it lives, this thread's tiles are 16 lines of 64 bytes.
class Tiles {
 public:
  TA_AMX Tiles() {
    // palette 1; the bytes of each line from byte 16 on, as words; lines from byte 48 on
    struct alignas(64) Shape {
      uint8_t palette = 1, zeros[15] = {};
      uint16_t line_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      uint8_t lines[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    };
    static constexpr Shape shape;
    _tile_loadconfig(&shape);
  }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;
  TA_AMX ~Tiles() { _tile_release(); }
};

/// y [16 RowTiles, 32] = sums that begin as `start` (null: as zeros; ld_start 0: as one line) + a panel of x times one
/// of w.
struct PanelSums {
  float* y;
  const float* start;
  int64_t ld_y, ld_start;  ///< numbers from a line to the next
};

/// x, w: panels of `steps` steps. Between two products of tiles a piece of other work is called: what is asked of the
/// processor behind tiles that wait for their registers waits with them.
template <int RowTiles, class Work>
TA_AMX_INLINE void multiply(const uint16_t* x, const uint16_t* w, int64_t steps, const PanelSums& sums,
                            const Work& work) {
  const int64_t ld_y = sums.ld_y * 4, ld_start = sums.ld_start * 4;
  if (sums.start != nullptr) {
    _tile_loadd(0, sums.start, ld_start);
    _tile_loadd(1, sums.start + 16, ld_start);
    if constexpr (RowTiles == 2) _tile_loadd(2, sums.start + 16 * sums.ld_start, ld_start);
    if constexpr (RowTiles == 2) _tile_loadd(3, sums.start + 16 * sums.ld_start + 16, ld_start);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  const auto take_x = [&](int64_t part) TA_AMX_HERE {
    _tile_loadd(4, x + part * kPartNumbers, 64);
    if constexpr (RowTiles == 2) _tile_loadd(5, x + part * kPartNumbers + kTileNumbers, 64);
  };
  const auto take_w = [&](int64_t part) TA_AMX_HERE {
    _tile_loadd(6, w + part * kPartNumbers, 64);
    _tile_loadd(7, w + part * kPartNumbers + kTileNumbers, 64);
  };
  const auto add = [&]() TA_AMX_HERE {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    if constexpr (RowTiles == 2) _tile_dpbf16ps(2, 5, 6);
    if constexpr (RowTiles == 2) _tile_dpbf16ps(3, 5, 7);
    work();
  };
  for (int64_t s = 0; s < steps; ++s, x += kStepNumbers, w += kStepNumbers) {
    // Every part that goes on is in its tiles already.
    take_x(2), take_w(0), add();
    take_x(1), add();
    take_w(1), add();
    take_x(0), add();
    take_w(0), add();
    take_w(2), add();
  }
  _tile_stored(0, sums.y, ld_y);
  _tile_stored(1, sums.y + 16, ld_y);
  if constexpr (RowTiles == 2) _tile_stored(2, sums.y + 16 * sums.ld_y, ld_y);
  if constexpr (RowTiles == 2) _tile_stored(3, sums.y + 16 * sums.ld_y + 16, ld_y);
}
/// How often `work` is called in a step.
constexpr int64_t kPauses = 6;

}  // namespace ta::amx

#else
#define TA_HAS_AMX_TILE 0
#endif
