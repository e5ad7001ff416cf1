#pragma once
// C = A B of one head in one row: too small for a library's call. With AVX-512 sixteen numbers at a time, else eight;
// the bits are the same.

#include <cstdint>

namespace ta {

/// A matrix of any strides: a product reads its left side one number at a time.
struct HeadMatrix {
  const float* data;
  int64_t row, column;  ///< strides
};

/// A [rows, inner], B [inner, columns], C [rows, columns]; columns is a multiple of 8. Only where lanes::fast().
void head_product(int64_t rows, int64_t columns, int64_t inner, HeadMatrix a, const float* b, int64_t ldb, float* c,
                  int64_t ldc);

}  // namespace ta
