// ATen's operators that graphs may use. An operator belongs here when its kernels check every size and index against
// the tensors they are given, and when all it does is compute.
//
// Not here, on purpose: empty and its like (memory read before it is written), as_strided, set_, resize_ and
// _unsafe_index (no bounds), _embedding_bag, native_group_norm and the fused attention kernels (they trust sizes),
// recurrent networks (their fused kernels trust the weights' shapes), random numbers other than dropout (not drawn per
// row), view.dtype.

#include <algorithm>
#include <iterator>
#include <string_view>

#include "core/exported/operators.h"

namespace ta::exported {
namespace {

// clang-format off
constexpr std::string_view allowed[] = {
    "__and__", "__or__", "__xor__", "_adaptive_avg_pool2d", "_assert_async", "_assert_scalar",
    "_assert_tensor_metadata", "_local_scalar_dense", "_log_softmax", "_softmax", "_to_copy", "_unsafe_view",
    "_weight_norm", "abs", "abs_", "acos", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "add", "add_", "addbmm",
    "addcdiv", "addcmul", "addmm", "alias", "all", "alpha_dropout", "amax", "amin", "any", "arange", "argmax",
    "argmin", "argsort", "asin", "atan", "atan2", "avg_pool1d", "avg_pool2d", "baddbmm", "batch_norm", "bitwise_and",
    "bitwise_not", "bitwise_or", "bitwise_xor", "bmm", "broadcast_to", "bucketize", "cat", "ceil", "celu", "chunk",
    "clamp", "clamp_", "clamp_max", "clamp_min", "clone", "col2im", "concat", "constant_pad_nd", "contiguous",
    "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "convolution", "copy_", "cos", "cosh",
    "cosine_similarity", "count_nonzero", "cumprod", "cumsum", "detach", "detach_", "diagonal", "div", "div_",
    "divide", "dot", "dropout", "dropout_", "einsum", "elu", "elu_", "embedding", "eq", "erf", "erfc", "exp", "exp2",
    "exp_", "expand", "expand_as", "expm1", "eye", "feature_alpha_dropout", "feature_dropout", "fill", "fill_",
    "flatten", "flip", "floor", "floor_divide", "fmax", "fmin", "fmod", "frac", "full", "full_like", "gather", "ge",
    "gelu", "gelu_", "glu", "group_norm", "gt", "hardsigmoid", "hardswish", "hardswish_", "hardtanh", "hardtanh_",
    "heaviside", "hstack", "hypot", "im2col", "index", "index_add", "index_add_", "index_copy", "index_put",
    "index_put_", "index_select", "instance_norm", "isfinite", "isinf", "isnan", "item", "layer_norm", "le",
    "leaky_relu", "leaky_relu_", "lerp", "lift_fresh_copy", "linalg_vector_norm", "linear", "linspace", "log",
    "log10", "log1p", "log2", "log_sigmoid", "log_softmax", "logaddexp", "logical_and", "logical_not", "logical_or",
    "logical_xor", "logit", "logsumexp", "lt", "masked_fill", "masked_fill_", "masked_scatter", "masked_select",
    "matmul", "max", "max_pool1d", "max_pool2d", "max_pool2d_with_indices", "maximum", "mean", "meshgrid", "min",
    "minimum", "mish", "mm", "movedim", "mul", "mul_", "multiply", "mv", "nan_to_num", "narrow", "native_dropout",
    "native_layer_norm", "ne", "neg", "neg_", "new_full", "new_ones", "new_zeros", "nonzero", "norm", "numpy_T",
    "one_hot", "ones", "ones_like", "outer", "pad", "permute", "pixel_shuffle", "pixel_unshuffle", "pow", "pow_",
    "prelu", "prod", "reciprocal", "reflection_pad1d", "reflection_pad2d", "relu", "relu6", "relu_", "remainder",
    "repeat", "repeat_interleave", "replication_pad1d", "replication_pad2d", "reshape", "reshape_as", "rms_norm",
    "roll", "round", "rsqrt", "rsqrt_", "rsub", "scalar_tensor", "scaled_dot_product_attention", "scatter",
    "scatter_", "scatter_add", "scatter_add_", "select", "select_scatter", "selu", "sgn", "sigmoid", "sigmoid_",
    "sign", "silu", "silu_", "sin", "sinh", "slice", "slice_scatter", "softmax", "softplus", "sort", "split",
    "split_with_sizes", "sqrt", "sqrt_", "square", "squeeze", "stack", "std", "sub", "sub_", "sum", "swapaxes",
    "sym_constrain_range", "sym_constrain_range_for_size", "sym_numel", "sym_size",
    "sym_storage_offset", "t", "take_along_dim", "tan",
    "tanh", "tanh_", "threshold", "tile", "to", "topk", "transpose", "tril", "triu", "true_divide", "trunc",
    "type_as", "unbind", "unflatten", "unfold", "unsqueeze", "upsample_bicubic2d", "upsample_bilinear2d",
    "upsample_linear1d", "upsample_nearest1d", "upsample_nearest2d", "var", "var_mean", "view", "view_as", "vstack",
    "where", "xlogy", "zero_", "zeros", "zeros_like",
};
// clang-format on

static_assert(std::is_sorted(std::begin(allowed), std::end(allowed)));

}  // namespace

bool is_allowed(std::string_view base_name) {
  return std::binary_search(std::begin(allowed), std::end(allowed), base_name);
}

}  // namespace ta::exported
