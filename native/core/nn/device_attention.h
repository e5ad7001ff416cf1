#pragma once
// Attention over packed rows on a CUDA device: one call serves rows of any lengths, since the kernel (libtorch's
// memory-efficient attention; Rabe and Staats 2021) is told where each row begins. Same shapes as attention.h.

#include "core/nn/attention.h"

namespace ta {

/// Float32 on CUDA, with heads whose rows of numbers begin at multiples of 16 bytes.
bool device_attention_serves(const at::Tensor& q, int64_t heads);

/// Without autograd. `saved` gets what the backward pass reads besides.
at::Tensor device_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const RowLayout& queries,
                            const RowLayout& keys, const AttentionForm& form, std::vector<at::Tensor>* saved);

AttentionGrads device_attention_backward(const at::Tensor& grad, const at::Tensor& q, const at::Tensor& k,
                                         const at::Tensor& v, const at::Tensor& out,
                                         const std::vector<at::Tensor>& saved, const RowLayout& queries,
                                         const RowLayout& keys, const AttentionForm& form);

}  // namespace ta
