// Included by thin_product.cc, once for each set of instructions, as head_product_tiles.h is: TA_TILE_ISA marks the
// functions, TA_TILE_WIDTH is how many numbers a vector has, TA_DOT_COLUMNS, TA_LINE_ROWS and TA_LINE_VECTORS are the
// sides of tiles whose sums fill the registers.

#define TA_TILE_INLINE TA_TILE_ISA inline __attribute__((always_inline))

using Vector = float __attribute__((vector_size(4 * TA_TILE_WIDTH)));
constexpr int64_t kVector = TA_TILE_WIDTH;
constexpr int kDotRows = 4, kDotColumns = TA_DOT_COLUMNS;
constexpr int kLineRows = TA_LINE_ROWS, kLineVectors = TA_LINE_VECTORS;

TA_TILE_INLINE Vector take(const float* p) {
  Vector v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

TA_TILE_INLINE lanes::Floats folded(Vector v) {
  lanes::Floats parts[kVector / lanes::kWidth];
  std::memcpy(parts, &v, sizeof v);
  if constexpr (kVector > lanes::kWidth) return parts[0] + parts[kVector / lanes::kWidth - 1];
  return parts[0];
}

// Rows × Columns dot products, times scale, written or added.
template <int Rows, int Columns>
TA_TILE_INLINE void dot_tile(Matrix x, Matrix w, int64_t inner, float scale, Output y, bool adds) {
  Vector sum[Rows][4];  // of four columns, whatever Columns is: all sums end alike
#pragma GCC unroll 8
  for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 8
    for (int c = 0; c < 4; ++c) sum[i][c] = Vector{};
  }
  int64_t k = 0;
  for (; k + kVector <= inner; k += kVector) {
    Vector wk[Columns];
#pragma GCC unroll 8
    for (int c = 0; c < Columns; ++c) wk[c] = take(w.data + c * w.ld + k);
#pragma GCC unroll 8
    for (int i = 0; i < Rows; ++i) {
      const Vector xk = take(x.data + i * x.ld + k);
#pragma GCC unroll 8
      for (int c = 0; c < Columns; ++c) sum[i][c] += xk * wk[c];
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < Rows; ++i) {
    float total[4];
    lanes::sums(folded(sum[i][0]), folded(sum[i][1]), folded(sum[i][2]), folded(sum[i][3]), total);
    for (int c = 0; c < Columns; ++c) {
      for (int64_t rest = k; rest < inner; ++rest) total[c] += x.data[i * x.ld + rest] * w.data[c * w.ld + rest];
      float& value = y.data[i * y.ld + c];
      value = scale * total[c] + (adds ? value : 0.0F);
    }
  }
}

template <int Columns>
TA_TILE_ISA void dot_column(int64_t rows, int64_t inner, Matrix x, Matrix w, float scale, Output y, bool adds) {
  for (; rows >= kDotRows; rows -= kDotRows, x.data += kDotRows * x.ld, y.data += kDotRows * y.ld)
    dot_tile<kDotRows, Columns>(x, w, inner, scale, y, adds);
  if (rows == 3) return dot_tile<3, Columns>(x, w, inner, scale, y, adds);
  if (rows == 2) return dot_tile<2, Columns>(x, w, inner, scale, y, adds);
  if (rows == 1) return dot_tile<1, Columns>(x, w, inner, scale, y, adds);
}

TA_TILE_ISA void dot_part(const Sides& sides, Matrix x, Matrix w, float scale, Output y, bool adds) {
  auto [rows, columns, inner] = sides;
  for (; columns >= kDotColumns; columns -= kDotColumns, w.data += kDotColumns * w.ld, y.data += kDotColumns)
    dot_column<kDotColumns>(rows, inner, x, w, scale, y, adds);
  if (columns == 3) return dot_column<3>(rows, inner, x, w, scale, y, adds);
  if (columns == 2) return dot_column<2>(rows, inner, x, w, scale, y, adds);
  if (columns == 1) return dot_column<1>(rows, inner, x, w, scale, y, adds);
}

// Rows × Vectors: what is there, or zeros, and the products.
template <int Rows, int Vectors>
TA_TILE_INLINE void line_tile(int64_t inner, Strided a, Matrix w, Output y, bool adds) {
  Vector sum[Rows][Vectors];
#pragma GCC unroll 8
  for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) sum[i][v] = adds ? take(y.data + i * y.ld + v * kVector) : Vector{};
  }
  for (int64_t k = 0; k < inner; ++k) {
    Vector wk[Vectors];
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) wk[v] = take(w.data + k * w.ld + v * kVector);
#pragma GCC unroll 8
    for (int i = 0; i < Rows; ++i) {
      const float number = a.data[i * a.row + k * a.column];
#pragma GCC unroll 8
      for (int v = 0; v < Vectors; ++v) sum[i][v] += number * wk[v];
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) std::memcpy(y.data + i * y.ld + v * kVector, &sum[i][v], sizeof(Vector));
  }
}

// Rows of all columns; the last ones, fewer than a vector, one by one.
template <int Rows>
TA_TILE_ISA void combine_lines(int64_t columns, int64_t inner, Strided a, Matrix w, Output y, bool adds) {
  constexpr int64_t kStep = kLineVectors * kVector;
  for (; columns >= kStep; columns -= kStep, w.data += kStep, y.data += kStep)
    line_tile<Rows, kLineVectors>(inner, a, w, y, adds);
  for (; columns >= kVector; columns -= kVector, w.data += kVector, y.data += kVector)
    line_tile<Rows, 1>(inner, a, w, y, adds);
  for (int64_t i = 0; i < Rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) {
      float& value = y.data[i * y.ld + j];
      float sum = adds ? value : 0.0F;
      for (int64_t k = 0; k < inner; ++k) sum += a.data[i * a.row + k * a.column] * w.data[k * w.ld + j];
      value = sum;
    }
  }
}

TA_TILE_ISA void combine_part(const Sides& sides, Strided a, Matrix w, Output y, bool adds) {
  const auto [rows, columns, inner] = sides;
  int64_t i = 0;
  const auto from = [&] { return Strided{a.data + i * a.row, a.row, a.column}; };
  const auto to = [&] { return Output{y.data + i * y.ld, y.ld}; };
  for (; i + kLineRows <= rows; i += kLineRows) combine_lines<kLineRows>(columns, inner, from(), w, to(), adds);
  if ((rows - i) & 4) combine_lines<4>(columns, inner, from(), w, to(), adds), i += 4;
  if ((rows - i) & 2) combine_lines<2>(columns, inner, from(), w, to(), adds), i += 2;
  if ((rows - i) & 1) combine_lines<1>(columns, inner, from(), w, to(), adds);
}

#undef TA_TILE_INLINE
#undef TA_TILE_ISA
#undef TA_TILE_WIDTH
#undef TA_DOT_COLUMNS
#undef TA_LINE_ROWS
#undef TA_LINE_VECTORS
