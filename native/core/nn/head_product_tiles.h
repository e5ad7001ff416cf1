// Included by head_product.cc, once for each set of instructions: TA_TILE_ISA marks its functions, TA_TILE_WIDTH is how
// many numbers a vector has. A function that is compiled for eight numbers cannot be inlined as one for sixteen.

using Vector = float __attribute__((vector_size(4 * TA_TILE_WIDTH)));
constexpr int64_t kVector = TA_TILE_WIDTH;

template <int Rows, int Vectors>
TA_TILE_ISA inline __attribute__((always_inline)) void tile(HeadMatrix a, const float* b, int64_t ldb, float* c,
                                                            int64_t ldc, int64_t inner) {
  Vector sum[Rows][Vectors];  // registers, once every loop over it is unrolled
#pragma GCC unroll 8
  for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) sum[i][v] = Vector{};
  }
  for (int64_t k = 0; k < inner; ++k) {
    Vector bk[Vectors];
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) std::memcpy(&bk[v], b + k * ldb + v * kVector, sizeof(Vector));
#pragma GCC unroll 8
    for (int i = 0; i < Rows; ++i) {
      const float x = a.data[i * a.row + k * a.column];
#pragma GCC unroll 8
      for (int v = 0; v < Vectors; ++v) sum[i][v] += x * bk[v];
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) std::memcpy(c + i * ldc + v * kVector, &sum[i][v], sizeof(Vector));
  }
}

template <int Vectors>
TA_TILE_ISA void column_of_tiles(int64_t rows, int64_t inner, HeadMatrix a, const float* b, int64_t ldb, float* c,
                                 int64_t ldc) {
  constexpr int64_t kRows = TA_TILE_WIDTH / 2;
  int64_t i = 0;
  for (; i + kRows <= rows; i += kRows, a.data += kRows * a.row)
    tile<kRows, Vectors>(a, b, ldb, c + i * ldc, ldc, inner);
  for (; i < rows; ++i, a.data += a.row) tile<1, Vectors>(a, b, ldb, c + i * ldc, ldc, inner);
}

/// How many columns are done: all but fewer than a vector.
TA_TILE_ISA int64_t columns_of_tiles(int64_t rows, int64_t columns, int64_t inner, HeadMatrix a, const float* b,
                                     int64_t ldb, float* c, int64_t ldc) {
  int64_t j = 0;
  for (; j + 2 * kVector <= columns; j += 2 * kVector) column_of_tiles<2>(rows, inner, a, b + j, ldb, c + j, ldc);
  if (j + kVector > columns) return j;
  column_of_tiles<1>(rows, inner, a, b + j, ldb, c + j, ldc);
  return j + kVector;
}

#undef TA_TILE_ISA
#undef TA_TILE_WIDTH
