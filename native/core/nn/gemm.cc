#include "core/nn/gemm.h"

#include <ATen/Context.h>
#include <ATen/Version.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>

#include <optional>

#include "core/nn/amx_product.h"
#include "core/nn/bf16_gemm.h"
#include "core/nn/dot_product.h"
#include "core/nn/panel_product.h"
#include "core/nn/wide_product.h"

namespace ta {

namespace {

// Multiply-adds from which oneDNN is ahead.
constexpr int64_t kWorthwhile = 8'000'000;

using LinearPointwise = at::Tensor(const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&,
                                   std::string_view, c10::List<std::optional<at::Scalar>>,
                                   std::optional<std::string_view>);

#if defined(__GNUC__) && defined(__x86_64__)
bool is_amd() {
  static const bool answer = __builtin_cpu_is("amd");
  return answer;
}
#else
bool is_amd() {
  return false;
}
#endif

/// libtorch's own entrance to oneDNN's inner product. Not public API: where a build lacks it, MKL does the work.
const std::optional<c10::TypedOperatorHandle<LinearPointwise>>& linear_pointwise() {
  static const auto handle = []() -> std::optional<c10::TypedOperatorHandle<LinearPointwise>> {
    if (!is_amd() || !at::globalContext().hasMKLDNN() || at::get_cpu_capability() != "AVX512") return std::nullopt;
    auto schema = c10::Dispatcher::singleton().findSchema({"mkldnn::_linear_pointwise", ""});
    if (!schema || !schema->hasKernelForDispatchKey(c10::DispatchKey::CPU)) return std::nullopt;
    try {
      return schema->typed<LinearPointwise>();
    } catch (const c10::Error&) {
      return std::nullopt;  // another signature
    }
  }();
  return handle;
}

at::Tensor onednn(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  std::optional<at::Tensor> b;
  if (bias.defined()) b = bias;
  return linear_pointwise()->call(x, weight, b, "none", c10::List<std::optional<at::Scalar>>(), "");
}

// Depends on the processor, sizes, type and device alone, never on a measurement, so bits repeat.
bool uses_onednn(const at::Tensor& x, const at::Tensor& weight) {
  return x.dim() == 2 && x.size(0) * weight.numel() >= kWorthwhile && x.scalar_type() == at::kFloat &&
         x.device().is_cpu() && linear_pointwise().has_value();
}

// AMD's processors without AVX-512. MKL has kernels of its own for them.
bool is_mkl_slow() {
  static const bool answer = is_amd() && at::get_cpu_capability() == "AVX2";
  return answer;
}

// With AVX-512, but for AMD's, where oneDNN comes first. For few rows MKL waits for memory, too; for many it is as
// fast, sooner where w is copied (g W).
bool is_wide_faster(const at::Tensor& x, const at::Tensor& w) {
  constexpr int64_t kLeast = 24, kMost = 1024, kMostCopied = 320, kWorthwhileWeight = 1 << 16;
  if (is_amd() || x.dim() != 2 || x.size(0) < kLeast || w.numel() < kWorthwhileWeight) return false;
  return wide_product_runs(x, w) && x.size(0) <= (w.stride(1) == 1 ? kMost : kMostCopied);
}

// With AMX, where there are rows enough to make a weight's parts for, and columns to make those of the rows for.
bool is_amx_worthwhile(int64_t rows, int64_t columns, int64_t inner) {
  constexpr int64_t kLeast = 64, kLeastColumns = 128, kLeastWeight = 1 << 15, kLeastWithEnds = 1 << 18;
  const bool ends = columns % 32 != 0 || inner % 32 != 0;
  return rows >= kLeast && columns >= kLeastColumns && columns * inner >= (ends ? kLeastWithEnds : kLeastWeight);
}

bool is_amx_faster(const at::Tensor& x, const at::Tensor& w) {
  return x.dim() == 2 && is_amx_worthwhile(x.size(0), w.size(0), w.size(1)) && amx_product_runs(x, w);
}

// Of g a turned copy is multiplied; what is asked of that is asked of g.
bool is_amx_faster_added(const at::Tensor& y, const at::Tensor& g, const at::Tensor& x) {
  constexpr int64_t kLeastTokens = 64;
  return g.dim() == 2 && g.size(0) >= kLeastTokens && is_amx_worthwhile(g.size(1), x.size(1), g.size(0)) &&
         y.stride(1) == 1 && amx_product_runs(g, x.t());
}

}  // namespace

at::Tensor own_product(const at::Tensor& x, const at::Tensor& w, const at::Tensor& bias) {
  if (is_amx_faster(x, w)) return amx_product(x, w, bias);
  if (is_wide_faster(x, w)) return wide_product(x, w, bias);
  // Rows that do not pay for panels; sums whose ends cost more than MKL's calls.
  constexpr int64_t kFewRows = 24, kShortSum = 48, kLongSum = 192;
  if (!is_mkl_slow() || x.dim() != 2 || w.dim() != 2) return {};
  if (x.size(0) <= kFewRows) {
    if (x.size(1) >= kLongSum && dot_product_runs(x, w)) return dot_product(x, w, bias);
    // Panels widen a bfloat16 matrix as they are made; otherwise it would be widened whole.
    if (w.scalar_type() != at::kBFloat16) return {};
  }
  const bool small = x.size(1) < kShortSum || w.size(0) < kShortSum;
  return !small && panel_product_runs(x, w) ? panel_product(x, w, bias) : at::Tensor();
}

at::Tensor affine(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  if (is_bf16(weight)) {
    if (x.dim() == 2) return bf16_product(x, weight.t(), bias);
    auto sizes = x.sizes().vec();
    sizes.back() = weight.size(0);
    return bf16_product(x.reshape({-1, x.size(-1)}), weight.t(), bias).view(sizes);
  }
  if (uses_onednn(x, weight)) return onednn(x, weight, bias);
  auto y = own_product(x, weight, bias);
  return y.defined() ? y : at::linear(x, weight, bias);
}

at::Tensor times(const at::Tensor& g, const at::Tensor& weight) {
  if (is_bf16(weight)) return bf16_product(g, weight, {});
  if (uses_onednn(g, weight)) return onednn(g, weight.t(), {});
  auto y = own_product(g, weight.t(), {});
  return y.defined() ? y : at::mm(g, weight);
}

void add_times(at::Tensor& y, const at::Tensor& g, const at::Tensor& x) {
  if (uses_onednn(g.t(), x)) {
    y.add_(times(g.t(), x));
  } else if (is_amx_faster_added(y, g, x)) {
    amx_add_product(y, g.t().contiguous(), x.t());
  } else {
    y.addmm_(g.t(), x);
  }
}

}  // namespace ta
