#include "core/adapters/output_adapter.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>

#include <algorithm>

#include "core/error.h"

namespace ta {

OutputAdapter::OutputAdapter(int64_t hidden, int64_t size, const std::string& activation)
    : layer_(std::make_shared<AdapterLayer>(hidden, size, activation)) {
  for (const auto& below : layer_->children()) child(below.name, below.module);
}

at::Tensor OutputPlace::forward(const at::Tensor& x, const ForwardContext& context) const {
  if (context.segments == nullptr) return x;
  const auto& segments = *context.segments;
  const auto here = [&](const RowSegment& segment) { return segment.setup && has_any(*segment.setup); };
  if (std::none_of(segments.begin(), segments.end(), here)) return x;
  if (segments.size() == 1) return run(*segments[0].setup, x, context);
  std::vector<at::Tensor> parts;
  for (const auto& segment : segments) {
    const auto rows = context.layout->rows(segment.first, segment.last);
    const auto own = x.narrow(0, context.layout->starts()[segment.first], rows.tokens());
    parts.push_back(here(segment) ? run(*segment.setup, own, context.with(rows)) : own);
  }
  return at::cat(parts);
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
