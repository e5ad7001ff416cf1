#include "core/adapters/output_adapter.h"

#include <ATen/TensorOperators.h>

#include "core/error.h"

namespace ta {

OutputAdapter::OutputAdapter(int64_t hidden, int64_t size, const std::string& activation)
    : layer_(std::make_shared<AdapterLayer>(hidden, size, activation)) {
  for (const auto& below : layer_->children()) child(below.name, below.module);
}

at::Tensor OutputPlace::forward(const at::Tensor& x, const ForwardContext& context) const {
  return by_setup(x, context, [this](const Composition& setup, const at::Tensor& own, const ForwardContext& rows) {
    return run(setup, own, rows);
  });
}

at::Tensor OutputPlace::run(const Composition& setup, const at::Tensor& x, const ForwardContext& context) const {
  if (!has_any(setup)) return x;
  if (setup.kind == Composition::Kind::adapter)
    return static_cast<OutputAdapter&>(*module(setup.index)).forward(x, context);
  if (setup.kind == Composition::Kind::stack) {
    auto y = x;
    for (const auto& child : setup.children) y = run(child, y, context);
    return y;
  }
  if (setup.kind == Composition::Kind::average) {
    at::Tensor sum;
    for (size_t i = 0; i < setup.children.size(); ++i) {
      const auto part = run(setup.children[i], x, context) * setup.weights[i];
      sum = sum.defined() ? sum + part : part;
    }
    return sum;
  }
  fail(ErrorCode::unsupported, "forward", "adapters on the last hidden state are neither fused nor split",
       {.expected = "one adapter, a Stack or an Average"});
}

}  // namespace ta
