#include "core/adapters/site.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>

#include "core/adapters/bottleneck_function.h"
#include "core/adapters/compose.h"
#include "core/nn/frozen.h"

namespace ta {

namespace {

// The one adapter that runs here, where the setup is a name or a stack of them and no other stands here.
const Bottleneck* only_adapter(const AdapterSite& site, const Composition& setup) {
  using Kind = Composition::Kind;
  if (setup.kind == Kind::adapter) return site.at(setup.index);
  if (setup.kind != Kind::stack) return nullptr;
  const Bottleneck* only = nullptr;
  for (const auto& child : setup.children) {
    if (child.kind == Kind::none) continue;
    if (child.kind != Kind::adapter) return nullptr;
    const auto* here = site.at(child.index);
    if (here == nullptr) continue;
    if (only != nullptr) return nullptr;
    only = here;
  }
  return only;
}

// Each segment's one adapter; nothing where one of them has several here.
std::vector<BottleneckPart> parts_of(const AdapterSite& site, const std::vector<RowSegment>& segments,
                                     const RowLayout& layout) {
  std::vector<BottleneckPart> parts;
  parts.reserve(segments.size());
  for (const auto& segment : segments) {
    const int64_t tokens = layout.starts()[segment.last] - layout.starts()[segment.first];
    const bool any = segment.setup != nullptr && site.has_any(*segment.setup);
    const auto* only = any ? only_adapter(site, *segment.setup) : nullptr;
    if (any && only == nullptr) return {};
    parts.push_back({tokens, only});
  }
  return parts;
}

}  // namespace

at::Tensor AdapterSite::run(const Values& values, LayerNorm* norm, const RowLayout& rows, const Composition* setup,
                            const ForwardContext& context, int64_t first_token) {
  const auto& [h, r, read] = values;
  if (setup == nullptr || !has_any(*setup)) return norm == nullptr ? h + r : add_norm(h, r, *norm);
  if (norm != nullptr && norm->frozen()) {
    const auto* only = only_adapter(*this, *setup);
    if (only != nullptr && only->plain()) return bottleneck_site(h, r, {{h.size(0), only}}, *norm);
  }
  return compose({*this, r, norm, context, first_token, {}, read}, *setup, h, rows);
}

at::Tensor AdapterSite::forward(const at::Tensor& h, const at::Tensor& r, LayerNorm* norm,
                                const ForwardContext& context, const at::Tensor& read) {
  const auto& layout = *context.layout;
  // Rows of many setups are one where all of it stands elsewhere.
  if (!reaches(context)) return run({h, r, read}, norm, layout, nullptr, context);
  const auto& segments = *context.segments;
  if (segments.size() == 1) return run({h, r, read}, norm, layout, segments[0].setup.get(), context);
  if (norm != nullptr && norm->frozen()) {
    auto together = parts_of(*this, segments, layout);
    if (!together.empty() && fit_together(together)) return bottleneck_site(h, r, together, *norm);
  }
  std::vector<at::Tensor> parts;
  parts.reserve(segments.size());
  for (const auto& segment : segments) {
    const int64_t begin = layout.starts()[segment.first], count = layout.starts()[segment.last] - begin;
    const Values own{h.narrow(0, begin, count), r.narrow(0, begin, count),
                     read.defined() ? read.narrow(0, begin, count) : read};
    parts.push_back(run(own, norm, layout.rows(segment.first, segment.last), segment.setup.get(), context, begin));
  }
  return at::cat(parts);
}

}  // namespace ta
