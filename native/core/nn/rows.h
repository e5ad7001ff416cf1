#pragma once
// Values of rows and values of tokens, both differentiable. Neighbouring rows of one length are one call on a view.

#include "core/nn/packed_batch.h"

namespace ta {

/// The mean over each row's tokens: [tokens, size] → [rows, size].
at::Tensor row_means(const at::Tensor& x, const RowLayout& rows);
/// Each row's value for each of its tokens: [rows, size] → [tokens, size].
at::Tensor for_each_token(const at::Tensor& values, const RowLayout& rows);

}  // namespace ta
