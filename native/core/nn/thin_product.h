#pragma once
// Products of which one side is thin: what an adapter of low rank computes for a few rows of a batch. A library copies
// its operands first, and a call of it costs as much as the product; here they are read where they lie, by vectors of
// AVX-512 or of eight numbers. Every number is a sum in an order that depends on the inner dimension and the processor
// alone. No threads and no tensors: row i of a matrix stands at data + i · ld, its numbers side by side.

#include <cstdint>

namespace ta::thin {

struct Matrix {
  const float* data;
  int64_t ld;
};
struct Output {
  float* data;
  int64_t ld;
};
/// Number k of row i at data + i · row + k · column.
struct Strided {
  const float* data;
  int64_t row, column;
};

/// Whether this processor has what they are made of.
bool runs();

struct Sides {
  int64_t rows, columns, inner;
};
/// y [rows, columns] = scale · x wᵀ, or y and that where `adds`.  x [rows, inner], w [columns, inner].
void dot_rows(const Sides& sides, Matrix x, Matrix w, float scale, Output y, bool adds);
/// y [rows, columns] = a w, or y and that.  a [rows, inner], w [inner, columns].
void combine_rows(const Sides& sides, Strided a, Matrix w, Output y, bool adds);
/// y [columns, rows] = xᵀ, or y and that.  x [rows, columns].
void turn(int64_t rows, int64_t columns, Matrix x, Output y, bool adds);

}  // namespace ta::thin
