#include "core/nn/gemm.h"

#include <ATen/Context.h>
#include <ATen/Version.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>

#include <optional>

#include "core/nn/dot_product.h"

namespace ta {

namespace {

// Multiply-adds from which oneDNN is ahead.
constexpr int64_t kWorthwhile = 8'000'000;

using LinearPointwise = at::Tensor(const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&,
                                   std::string_view, c10::List<std::optional<at::Scalar>>,
                                   std::optional<std::string_view>);

/// libtorch's own entrance to oneDNN's inner product. Not public API: where a build lacks it, MKL does the work.
const std::optional<c10::TypedOperatorHandle<LinearPointwise>>& linear_pointwise() {
  static const auto handle = []() -> std::optional<c10::TypedOperatorHandle<LinearPointwise>> {
    if (!at::globalContext().hasMKLDNN() || at::get_cpu_capability() != "AVX512") return std::nullopt;
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

}  // namespace

bool uses_onednn(const at::Tensor& x, const at::Tensor& weight) {
  return x.dim() == 2 && x.size(0) * weight.numel() >= kWorthwhile && x.scalar_type() == at::kFloat &&
         x.device().is_cpu() && linear_pointwise().has_value();
}

at::Tensor affine(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  if (uses_onednn(x, weight)) return onednn(x, weight, bias);
  return dot_product_serves(x, weight) ? dot_product(x, weight, bias) : at::linear(x, weight, bias);
}

at::Tensor times(const at::Tensor& g, const at::Tensor& weight) {
  return uses_onednn(g, weight) ? onednn(g, weight.t(), {}) : at::mm(g, weight);
}

}  // namespace ta
