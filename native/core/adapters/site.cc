#include "core/adapters/site.h"

#include <ATen/ops/cat.h>

#include "core/adapters/bottleneck_function.h"
#include "core/nn/frozen.h"

namespace ta {

void AdapterSite::add(int64_t index, const std::string& name, std::shared_ptr<Bottleneck> adapter) {
  if (static_cast<int64_t>(adapters_.size()) <= index) adapters_.resize(index + 1);
  adapters_[index] = adapter;
  child(name, std::move(adapter));
}

void AdapterSite::remove(int64_t index, const std::string& name) {
  if (!at(index)) return;
  adapters_[index].reset();
  remove_child(name);
}

std::shared_ptr<Bottleneck> AdapterSite::at(int64_t index) const {
  return index < static_cast<int64_t>(adapters_.size()) ? adapters_[index] : nullptr;
}

at::Tensor AdapterSite::run(const at::Tensor& h, const at::Tensor& r, LayerNorm& norm, const RowLayout& rows,
                            const std::vector<int64_t>& adapters, Random* random) {
  std::vector<Bottleneck*> here;
  for (int64_t index : adapters)
    if (auto adapter = at(index)) here.push_back(adapter.get());
  if (here.empty()) return add_norm(h, r, norm);
  if (here.size() == 1 && here[0]->plain() && norm.frozen()) return bottleneck_site(h, r, *here[0], norm);
  at::Tensor o = h;
  for (auto* adapter : here) o = adapter->forward(o, r, norm, rows, random);
  return here.back()->finish(o, r, norm);
}

at::Tensor AdapterSite::forward(const at::Tensor& h, const at::Tensor& r, LayerNorm& norm,
                                const ForwardContext& context) {
  const auto& layout = *context.layout;
  const auto& segments = context.segments;
  if (segments.empty()) return run(h, r, norm, layout, {}, context.random);
  if (segments.size() == 1) return run(h, r, norm, layout, segments[0].adapters, context.random);
  std::vector<at::Tensor> parts;
  parts.reserve(segments.size());
  for (const auto& segment : segments) {
    const int64_t begin = layout.starts()[segment.first], count = layout.starts()[segment.last] - begin;
    std::vector<int64_t> lengths;
    for (int64_t row = segment.first; row < segment.last; ++row) lengths.push_back(layout.length(row));
    parts.push_back(run(h.narrow(0, begin, count), r.narrow(0, begin, count), norm, RowLayout(lengths),
                        segment.adapters, context.random));
  }
  return at::cat(parts);
}

}  // namespace ta
