#include "core/adapters/place.h"

#include <ATen/ops/cat.h>

#include <algorithm>

namespace ta {

void AdapterPlace::add(int64_t index, const std::string& name, std::shared_ptr<AdapterModule> module) {
  if (static_cast<int64_t>(modules_.size()) <= index) modules_.resize(index + 1);
  modules_[index] = module;
  child(name, std::move(module));
}

void AdapterPlace::remove(int64_t index, const std::string& name) {
  if (!module(index)) return;
  modules_[index].reset();
  remove_child(name);
}

std::string AdapterPlace::name_of(int64_t index) const {
  for (const auto& child : children())
    if (child.module == module(index)) return child.name;
  return {};
}

bool AdapterPlace::has_any(const Composition& setup) const {
  if (children().empty()) return false;
  bool found = false;
  setup.visit([&](const Composition& part) {
    found = found || (part.kind == Composition::Kind::adapter && module(part.index) != nullptr);
  });
  return found;
}

bool AdapterPlace::reaches(const ForwardContext& context) const {
  if (context.segments == nullptr || children().empty()) return false;
  return std::any_of(context.segments->begin(), context.segments->end(),
                     [&](const RowSegment& segment) { return segment.setup && has_any(*segment.setup); });
}

at::Tensor AdapterPlace::by_setup(const at::Tensor& x, const ForwardContext& context, const Run& run) const {
  if (!reaches(context)) return x;
  const auto& segments = *context.segments;
  if (segments.size() == 1) return run(*segments[0].setup, x, context);
  std::vector<at::Tensor> parts;
  for (const auto& segment : segments) {
    const auto rows = context.layout->rows(segment.first, segment.last);
    const auto own = x.narrow(0, context.layout->starts()[segment.first], rows.tokens());
    const bool here = segment.setup && has_any(*segment.setup);
    parts.push_back(here ? run(*segment.setup, own, context.with(rows)) : own);
  }
  return at::cat(parts);
}

}  // namespace ta
