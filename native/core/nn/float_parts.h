#pragma once
// float32 numbers as three bfloat16 parts, in the order that tiles are read in (amx_tile.h). A tile has 16 lines of 16
// pairs: pair i of a line holds numbers i and 16 + i of a step of the inner dimension; for the second factor, line i
// holds pair i of 16 columns.

#include "core/nn/amx_tile.h"

#if TA_HAS_AMX_TILE

namespace ta::amx {

using Words = __m512i;  // sixteen floats' bits, or sixteen pairs of bfloat16

TA_AMX_INLINE Words words(const void* from) {
  return _mm512_loadu_si512(from);
}

/// Three parts of sixteen numbers, each in the upper half of a word; their sum is the number. A part has eight bits of
/// the 24, rounded; what the last one keeps needs no rounding.
struct Parts {
  Words part[kParts];

  TA_AMX_INLINE explicit Parts(Words bits) {
    const Words half = _mm512_set1_epi32(0x8000), upper = _mm512_set1_epi32(static_cast<int>(0xFFFF0000U));
    part[0] = _mm512_and_si512(_mm512_add_epi32(bits, half), upper);
    const __m512 rest = _mm512_sub_ps(_mm512_castsi512_ps(bits), _mm512_castsi512_ps(part[0]));
    part[1] = _mm512_and_si512(_mm512_add_epi32(_mm512_castps_si512(rest), half), upper);
    part[2] = _mm512_castps_si512(_mm512_sub_ps(rest, _mm512_castsi512_ps(part[1])));
  }
};

/// Line by line for each part: pairs of `first` and `second` at to, and the next part's `apart` numbers behind.
TA_AMX_INLINE void put_pairs(Words first, Words second, uint16_t* to, int64_t apart) {
  const Parts a(first), b(second);
#pragma GCC unroll 3
  for (int64_t p = 0; p < kParts; ++p) {
    // The lower halves are the first one's.
    _mm512_store_si512(to + p * apart,
                       _mm512_mask_blend_epi16(0xAAAAAAAA, _mm512_srli_epi32(a.part[p], 16), b.part[p]));
  }
}

/// Line i of 16 from each part's tile in `lines` (one after the other), turned: four lines, 4 quarter .. 4 quarter + 3,
/// of tiles that lie kPartNumbers apart.
TA_AMX_INLINE void turn_quarter(const uint16_t* lines, int64_t quarter, uint16_t* to) {
#pragma GCC unroll 3
  for (int64_t p = 0; p < kParts; ++p) {
    const uint16_t* from = lines + p * kTileNumbers + quarter * 8;
    Words r[4];  // four pairs each of lines i, 4 + i, 8 + i and 12 + i
#pragma GCC unroll 4
    for (int64_t i = 0; i < 4; ++i) {
      const auto four = [&](int64_t line)
                            TA_AMX { return _mm_load_si128(reinterpret_cast<const __m128i*>(from + line * kStep)); };
      r[i] = _mm512_inserti32x4(_mm512_castsi128_si512(four(i)), four(4 + i), 1);
      r[i] = _mm512_inserti32x4(_mm512_inserti32x4(r[i], four(8 + i), 2), four(12 + i), 3);
    }
    const Words a = _mm512_unpacklo_epi32(r[0], r[1]), b = _mm512_unpacklo_epi32(r[2], r[3]);
    const Words c = _mm512_unpackhi_epi32(r[0], r[1]), d = _mm512_unpackhi_epi32(r[2], r[3]);
    uint16_t* line = to + p * kPartNumbers + quarter * 4 * kStep;
    _mm512_store_si512(line, _mm512_unpacklo_epi64(a, b));
    _mm512_store_si512(line + kStep, _mm512_unpackhi_epi64(a, b));
    _mm512_store_si512(line + 2 * kStep, _mm512_unpacklo_epi64(c, d));
    _mm512_store_si512(line + 3 * kStep, _mm512_unpackhi_epi64(c, d));
  }
}

}  // namespace ta::amx

#endif
