#pragma once
// Eight floats at a time, written once for every processor: the compiler makes AVX2, NEON or plain code of them. For
// products so small that a library's call costs more than its work. Functions marked TA_LANES may use AVX2 and are
// called only where `lanes::fast()`; what they call is inlined into them.

#if defined(__GNUC__) && (defined(__x86_64__) || defined(__aarch64__))
#define TA_HAS_LANES 1

#include <ATen/Version.h>
#include <ATen/core/Tensor.h>

#include <bit>
#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#define TA_LANES __attribute__((target("avx2,fma")))
#else
#define TA_LANES
#endif
#define TA_INLINE TA_LANES inline __attribute__((always_inline))

// Vectors are passed between inlined functions only: no call depends on how.
#pragma GCC diagnostic ignored "-Wpsabi"

namespace ta::lanes {

constexpr int64_t kWidth = 8;
using Floats = float __attribute__((vector_size(32)));
using Ints = int32_t __attribute__((vector_size(32)));

/// True where this processor has what TA_LANES asks for (and libtorch was not told to do without: ATEN_CPU_CAPABILITY).
inline bool fast() {
#if defined(__x86_64__)
  static const bool answer = at::get_cpu_capability() != "DEFAULT";
  return answer;
#else
  return true;
#endif
}

TA_INLINE Floats load(const float* p) {
  Floats v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
/// Eight numbers in bfloat16, each the upper half of a float's bits.
TA_INLINE Floats load(const uint16_t* p) {
  uint16_t halves __attribute__((vector_size(16)));
  std::memcpy(&halves, p, sizeof halves);
  return reinterpret_cast<Floats>(__builtin_convertvector(halves, Ints) << 16);
}
inline float number(float x) {
  return x;
}
inline float number(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}
/// Whether a matrix has numbers of one of these types.
inline bool reads(const at::Tensor& x) {
  return x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16;
}
/// run(a pointer to its numbers).
template <class Run>
void with_numbers(const at::Tensor& x, const Run& run) {
  if (x.scalar_type() == at::kBFloat16) return run(static_cast<const uint16_t*>(x.const_data_ptr()));
  run(x.const_data_ptr<float>());
}
TA_INLINE void store(float* p, Floats v) {
  std::memcpy(p, &v, sizeof v);
}
TA_INLINE Floats all(float x) {
  return Floats{x, x, x, x, x, x, x, x};
}

// Numbers of a and b (8 .. 15) in this order.
#if __has_builtin(__builtin_shufflevector)
#define TA_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define TA_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, Ints{__VA_ARGS__})
#endif

TA_INLINE float sum(Floats v) {
  return ((v[0] + v[4]) + (v[1] + v[5])) + ((v[2] + v[6]) + (v[3] + v[7]));
}
/// The four vectors' sums, one after the other.
TA_INLINE void sums(Floats a, Floats b, Floats c, Floats d, float* result) {
  const auto pairs = [](Floats x, Floats y) TA_LANES {
    return TA_SHUFFLE(x, y, 0, 2, 8, 10, 4, 6, 12, 14) + TA_SHUFFLE(x, y, 1, 3, 9, 11, 5, 7, 13, 15);
  };
  const Floats all = pairs(pairs(a, b), pairs(c, d));
  const Floats both = all + TA_SHUFFLE(all, all, 4, 5, 6, 7, 4, 5, 6, 7);
  std::memcpy(result, &both, 4 * sizeof(float));
}
/// Line i of the result is column i of what was given.
TA_INLINE void transpose(Floats (&v)[kWidth]) {
  Floats t[kWidth], u[kWidth];
#pragma GCC unroll 8
  for (int i = 0; i < 8; i += 2) {
    t[i] = TA_SHUFFLE(v[i], v[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
    t[i + 1] = TA_SHUFFLE(v[i], v[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; i += 4) {
    u[i] = TA_SHUFFLE(t[i], t[i + 2], 0, 1, 8, 9, 4, 5, 12, 13);
    u[i + 1] = TA_SHUFFLE(t[i], t[i + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    u[i + 2] = TA_SHUFFLE(t[i + 1], t[i + 3], 0, 1, 8, 9, 4, 5, 12, 13);
    u[i + 3] = TA_SHUFFLE(t[i + 1], t[i + 3], 2, 3, 10, 11, 6, 7, 14, 15);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 4; ++i) {
    v[i] = TA_SHUFFLE(u[i], u[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
    v[i + 4] = TA_SHUFFLE(u[i], u[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
  }
}

TA_INLINE float most(Floats v) {
  float result = v[0];
  for (int64_t i = 1; i < kWidth; ++i) result = v[i] > result ? v[i] : result;
  return result;
}

/// e^x for x ≤ 0, within 2 units in the last place; about 1e-38 for all below -87 (the polynomial is that of Cephes).
TA_INLINE Floats exp(Floats x) {
  x = x < -87.0F ? all(-87.0F) : x;
  constexpr float kRound = 12582912.0F;  // 1.5 · 2^23: the sum's last bits are the nearest integer
  const Floats shifted = x * 1.44269504F + kRound;
  const Floats n = shifted - kRound;
  const Floats r = x - n * 0.693359375F + n * 2.12194440e-4F;
  Floats p = r * 1.9875691500e-4F + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  p = p * (r * r) + r + 1.0F;
  return reinterpret_cast<Floats>(reinterpret_cast<Ints>(p) + (reinterpret_cast<Ints>(shifted) << 23));
}

/// t [columns, ld] = xᵀ of x [rows, columns]; columns and ld are multiples of 8. What lies behind `rows` in each line
/// of t becomes 0.
TA_INLINE void transpose(int64_t rows, int64_t columns, const float* x, int64_t ldx, float* t, int64_t ld) {
  for (int64_t j = 0; j < ld; j += kWidth) {
    for (int64_t c = 0; c < columns; c += kWidth) {
      Floats v[kWidth];
#pragma GCC unroll 8
      for (int i = 0; i < kWidth; ++i) v[i] = j + i < rows ? load(x + (j + i) * ldx + c) : all(0);
      transpose(v);
#pragma GCC unroll 8
      for (int i = 0; i < kWidth; ++i) store(t + (c + i) * ld + j, v[i]);
    }
  }
}

}  // namespace ta::lanes

#else
#define TA_HAS_LANES 0
#endif
