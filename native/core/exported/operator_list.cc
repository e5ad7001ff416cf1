// ATen's operators that graphs may use. An operator belongs here when its kernels check every size and index against
// the tensors they are given, and when all it does is compute.
//
// Not here, on purpose: empty and its like (memory read before it is written), as_strided, set_, resize_ and
// _unsafe_index (no bounds), _embedding_bag, native_group_norm and the fused attention kernels (they trust sizes),
// random numbers other than dropout (not drawn per row), view.dtype.

#include <algorithm>
#include <iterator>
#include <string_view>

#include "core/exported/operators.h"

namespace ta::exported {
namespace {

// clang-format off
constexpr std::string_view allowed[] = {
    "__and__", "__lshift__", "__or__", "__rshift__", "__xor__", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d",
    "_assert_async", "_assert_scalar", "_assert_tensor_metadata", "_conj", "_local_scalar_dense", "_log_softmax",
    "_softmax", "_to_copy", "_unsafe_view", "_weight_norm", "abs", "abs_", "acos", "acosh", "adaptive_avg_pool1d",
    "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d",
    "add", "add_", "addbmm", "addcdiv", "addcdiv_", "addcmul", "addcmul_", "addmm", "addmv", "addr", "adjoint",
    "affine_grid_generator", "alias", "all", "alpha_dropout", "amax", "amin", "angle", "any", "arange", "argmax",
    "argmin", "argsort", "asin", "asinh", "atan", "atan2", "atan_", "atanh", "atleast_1d", "atleast_2d", "atleast_3d",
    "avg_pool1d", "avg_pool2d", "avg_pool3d", "baddbmm", "baddbmm_", "batch_norm", "bilinear", "binary_cross_entropy",
    "binary_cross_entropy_with_logits", "bitwise_and", "bitwise_left_shift", "bitwise_not", "bitwise_or",
    "bitwise_right_shift", "bitwise_xor", "bmm", "broadcast_tensors", "broadcast_to", "bucketize", "cartesian_prod",
    "cat", "cdist", "ceil", "celu", "celu_", "channel_shuffle", "chunk", "clamp", "clamp_", "clamp_max", "clamp_max_",
    "clamp_min", "clamp_min_", "clip", "clone", "col2im", "column_stack", "complex", "concat", "conj", "conj_physical",
    "constant_pad_nd", "contiguous", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d",
    "conv_transpose3d", "convolution", "copy_", "copysign", "corrcoef", "cos", "cos_", "cosh", "cosine_embedding_loss",
    "cosine_similarity", "count_nonzero", "cross", "cross_entropy_loss", "cummax", "cummin", "cumprod", "cumprod_",
    "cumsum", "cumsum_", "deg2rad", "detach", "detach_", "diag", "diag_embed", "diagonal", "diagonal_scatter", "diff",
    "digamma", "dist", "div", "div_", "divide", "dot", "dropout", "dropout_", "dsplit", "dstack", "einsum", "elu",
    "elu_", "embedding", "eq", "erf", "erfc", "erfinv", "exp", "exp2", "exp_", "expand", "expand_as", "expm1", "eye",
    "feature_alpha_dropout", "feature_dropout", "fft_fft", "fft_fft2", "fft_fftfreq", "fft_fftn", "fft_fftshift",
    "fft_hfft", "fft_ifft", "fft_ifft2", "fft_ifftn", "fft_ifftshift", "fft_ihfft", "fft_irfft", "fft_irfft2",
    "fft_irfftn", "fft_rfft", "fft_rfft2", "fft_rfftfreq", "fft_rfftn", "fill", "fill_", "flatten", "flip",
    "float_power", "floor", "floor_", "floor_divide", "fmax", "fmin", "fmod", "frac", "full", "full_like", "gather",
    "gcd", "ge", "gelu", "gelu_", "glu", "grid_sampler", "group_norm", "gru", "gru_cell", "gt", "hamming_window",
    "hann_window", "hardshrink", "hardsigmoid", "hardswish", "hardswish_", "hardtanh", "hardtanh_", "heaviside",
    "hsplit", "hstack", "huber_loss", "hypot", "i0", "im2col", "imag", "index", "index_add", "index_add_", "index_copy",
    "index_copy_", "index_fill", "index_fill_", "index_put", "index_put_", "index_reduce", "index_select", "inner",
    "instance_norm", "inverse", "isclose", "isfinite", "isin", "isinf", "isnan", "isneginf", "isposinf", "isreal",
    "istft", "item", "kl_div", "kron", "kthvalue", "l1_loss", "layer_norm", "lcm", "ldexp", "le", "leaky_relu",
    "leaky_relu_", "lerp", "lerp_", "lgamma", "lift_fresh_copy", "linalg_cholesky", "linalg_cholesky_ex",
    "linalg_cross", "linalg_det", "linalg_diagonal", "linalg_householder_product", "linalg_inv", "linalg_inv_ex",
    "linalg_matrix_exp", "linalg_matrix_norm", "linalg_matrix_power", "linalg_norm", "linalg_slogdet", "linalg_solve",
    "linalg_solve_ex", "linalg_solve_triangular", "linalg_vector_norm", "linear", "linspace", "log", "log10", "log1p",
    "log2", "log_", "log_sigmoid", "log_softmax", "logaddexp", "logaddexp2", "logcumsumexp", "logdet", "logical_and",
    "logical_not", "logical_not_", "logical_or", "logical_xor", "logit", "logsumexp", "lstm", "lstm_cell", "lt", "mH",
    "mT", "masked_fill", "masked_fill_", "masked_scatter", "masked_scatter_", "masked_select", "matmul", "matrix_H",
    "matrix_exp", "matrix_power", "max", "max_pool1d", "max_pool2d", "max_pool2d_with_indices", "max_pool3d",
    "max_pool3d_with_indices", "maximum", "mean", "median", "meshgrid", "min", "minimum", "mish", "mm", "mode",
    "moveaxis", "movedim", "mse_loss", "mul", "mul_", "multiply", "mv", "nan_to_num", "nan_to_num_", "nanmean",
    "nanmedian", "nanquantile", "nansum", "narrow", "native_dropout", "native_layer_norm", "ne", "neg", "neg_",
    "new_full", "new_ones", "new_zeros", "nonzero", "norm", "numpy_T", "one_hot", "ones", "ones_like", "outer", "pad",
    "pairwise_distance", "permute", "pixel_shuffle", "pixel_unshuffle", "polar", "positive", "pow", "pow_", "prelu",
    "prod", "quantile", "rad2deg", "ravel", "real", "reciprocal", "reflection_pad1d", "reflection_pad2d",
    "reflection_pad3d", "relu", "relu6", "relu_", "remainder", "renorm", "repeat", "repeat_interleave",
    "replication_pad1d", "replication_pad2d", "replication_pad3d", "reshape", "reshape_as", "resolve_conj",
    "resolve_neg", "rms_norm", "rnn_relu", "rnn_relu_cell", "rnn_tanh", "rnn_tanh_cell", "roll", "rot90", "round",
    "round_", "rrelu", "rsqrt", "rsqrt_", "rsub", "scalar_tensor", "scaled_dot_product_attention", "scatter",
    "scatter_", "scatter_add", "scatter_add_", "scatter_reduce", "scatter_reduce_", "searchsorted", "select",
    "select_scatter", "selu", "selu_", "sgn", "sigmoid", "sigmoid_", "sign", "signbit", "silu", "silu_", "sin", "sin_",
    "sinc", "sinh", "slice", "slice_scatter", "smooth_l1_loss", "soft_margin_loss", "softmax", "softplus", "softshrink",
    "sort", "special_erf", "special_expit", "special_i0", "special_log_softmax", "special_logit", "special_softmax",
    "special_xlog1py", "split", "split_with_sizes", "sqrt", "sqrt_", "square", "square_", "squeeze", "stack", "std",
    "std_mean", "stft", "sub", "sub_", "sum", "swapaxes", "swapdims", "sym_constrain_range",
    "sym_constrain_range_for_size", "sym_numel", "sym_size", "sym_storage_offset", "t", "take_along_dim", "tan", "tanh",
    "tanh_", "tensor_split", "tensordot", "threshold", "threshold_", "tile", "to", "topk", "trace", "transpose",
    "trapezoid", "tril", "tril_", "tril_indices", "triu", "triu_", "triu_indices", "true_divide", "trunc", "type_as",
    "unbind", "unflatten", "unfold", "unsqueeze", "upsample_bicubic2d", "upsample_bilinear2d", "upsample_linear1d",
    "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "upsample_trilinear3d", "vander", "var",
    "var_mean", "vdot", "view", "view_as", "view_as_complex", "view_as_real", "vsplit", "vstack", "where", "xlogy",
    "zero_", "zeros", "zeros_like",
};
// clang-format on

static_assert(std::is_sorted(std::begin(allowed), std::end(allowed)));

}  // namespace

bool is_allowed(std::string_view base_name) {
  return std::binary_search(std::begin(allowed), std::end(allowed), base_name);
}

}  // namespace ta::exported
