#pragma once
// AdapterDrop at run time (Rücklé et al. 2021, arXiv 2010.11918): what one layer sees of a pass. Rows whose setup skips
// the layer pass through the base model alone there, as if the adapters had been left out of it.

#include <algorithm>

#include "core/nn/forward_context.h"

namespace ta {

class LayerContext {
 public:
  LayerContext(const ForwardContext& pass, int64_t layer) : context_(pass) {
    if (pass.segments == nullptr) return;
    const auto skips = [&](const RowSegment& segment) {
      if (!segment.setup) return false;
      const auto& layers = segment.setup->skip_layers;
      return std::find(layers.begin(), layers.end(), layer) != layers.end();
    };
    if (std::none_of(pass.segments->begin(), pass.segments->end(), skips)) return;
    own_ = *pass.segments;
    for (auto& segment : own_)
      if (skips(segment)) segment.setup = nullptr;
    context_.segments = &own_;
  }
  LayerContext(const LayerContext&) = delete;  // the context refers to own_
  LayerContext& operator=(const LayerContext&) = delete;

  operator const ForwardContext&() const { return context_; }
  ForwardContext with(const RowLayout& rows) const { return context_.with(rows); }

 private:
  std::vector<RowSegment> own_;
  ForwardContext context_;
};

}  // namespace ta
