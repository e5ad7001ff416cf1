#include "core/exported/hooks.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>

#include "core/exported/mixed_precision.h"
#include "core/models/encoder.h"
#include "core/nn/layer_context.h"

namespace ta::exported {

namespace {

// `source`: for a value of the encoder, where there is a decoder, too.
const Pass& pass_of(const void* pass, bool source) {
  return static_cast<const Pass*>(pass)->side(source);
}

// The slot of a LayerNorm where surgery may have put something else; null: none has.
const Slot* slot_of(const Tree& tree, const LayerNorm* norm) {
  for (const auto& place : tree.slots())
    if (norm != nullptr && place.own.get() == norm) return place.slot;
  return nullptr;
}

// Whether a sub-layer's end is what a site gives that nothing stands at: the sum, and a LayerNorm that is the
// library's.
bool is_sum_alone(const Graph& graph, const SubLayer& sub, const LayerNorm* norm) {
  for (int32_t i = sub.nodes.first; i <= sub.nodes.last; ++i)
    if (graph.nodes[i].has_mode()) return false;
  return sub.norm < 0 || norm != nullptr;
}

bool crosses(const Range& a, const Range& b) {
  const bool apart = a.last < b.first || b.last < a.first;
  const bool nested = (a.first <= b.first && b.last <= a.last) || (b.first <= a.first && a.last <= b.last);
  return !apart && !nested;
}

}  // namespace

bool of_source(const Program& program, const Tree& tree, int32_t slot) {
  return tree.streams().of_source(program.graph(), program.graph().slots[slot]);
}

namespace {

// A sub-layer that ends where the hook stands: its site, and the LayerNorm behind it.
struct End {
  const SitePlace* place;
  const SubLayer* sub;
  LayerNorm* norm;
  const Slot* norm_slot;
};

// Those that end in one sum are one hook's, attention first.
std::vector<std::vector<End>> ends_of(const Tree& tree, const std::vector<SitePlace>& sites) {
  std::vector<std::vector<End>> result;
  for (const auto& place : sites) {
    for (const auto& sub : place.sub_layers) {
      auto* norm = sub.norm < 0 ? nullptr : tree.norm_at(sub.norm);
      const End end{&place, &sub, norm, slot_of(tree, norm)};
      const auto same = std::find_if(result.begin(), result.end(), [&](const std::vector<End>& ends) {
        return sub.beside && ends[0].sub->beside && ends[0].sub->nodes == sub.nodes;
      });
      if (same == result.end()) {
        result.push_back({end});
      } else if (place.location == Location::attention) {
        same->insert(same->begin(), end);
      } else {
        same->push_back(end);
      }
    }
  }
  return result;
}

at::Tensor stream_of(const Execution& execution, const SubLayer& sub) {
  auto r = widened(execution.tensor(sub.r));
  for (int32_t slot : sub.more) r = r + execution.tensor(slot);
  return r;
}

// Whether the LayerNorm behind a sum of rows and tokens as one size reads it as [rows, columns, n].
bool is_parted(const Execution& execution, const SubLayer& sub) {
  const auto& slots = execution.program().graph().slots;
  return slots[sub.out].shape.size() != slots[sub.h].shape.size();
}

at::Tensor parted(const Pass& pass, const at::Tensor& value) {
  return value.view({pass.rows.rows(), pass.rows.columns(), value.size(-1)});
}

// One sub-layer that ends in a sum of two. `is_own`: the library's own code gives the same where nothing stands.
bool finish_one(const End& end, bool is_own, const Pass& pass, Execution& execution) {
  const auto& [place, sub, norm, norm_slot] = end;
  const LayerContext here(pass.context, place->layer);
  const bool changes = place->reft != nullptr && place->reft->reaches(here);
  const bool acts = changes || pass.hidden != nullptr || place->site->reaches(here);
  // Where nothing stands here the sum and its LayerNorm are one call of the library, too.
  if (!acts && !(is_own && pass.folds() && pass.fits(execution, sub->h) && pass.fits(execution, sub->r) &&
                 (norm_slot == nullptr || norm_slot->layer.get() == norm)))
    return false;
  auto h = pass.packed(execution, sub->h), r = pass.packed(execution, sub->r);
  if (!acts && (h.scalar_type() != at::kFloat || r.scalar_type() != at::kFloat)) return false;
  h = widened(h), r = widened(r);
  if (pass.hidden != nullptr && pass.hidden->empty()) pass.hidden->push_back(widened(execution.tensor(sub->r)));
  auto y =
      norm_slot != nullptr ? finish_at(*place->site, *norm_slot, h, r, here) : place->site->forward(h, r, norm, here);
  if (changes) y = place->reft->forward(y, here);
  y = as_slot(execution, sub->out, y);
  if (is_parted(execution, *sub)) {
    execution.set(sub->out, parted(pass, pass.unpack(y, execution.tensor(sub->h))));
  } else {
    pass.give(execution, sub->out, y, sub->h);
  }
  if (place->reft != nullptr && pass.hidden != nullptr) pass.hidden->push_back(widened(execution.tensor(sub->out)));
  return true;
}

// Several that end in one sum, a sum of more than two, or a module that is added to nothing.
bool finish_all(const std::vector<End>& ends, const Pass& pass, Execution& execution) {
  const auto& last = ends.back();
  const LayerContext here(pass.context, last.place->layer);
  const bool changes = last.place->reft != nullptr && last.place->reft->reaches(here);
  const bool any =
      std::any_of(ends.begin(), ends.end(), [&](const End& end) { return end.place->site->reaches(here); });
  if (!changes && pass.hidden == nullptr && !any) return false;
  const bool alone = last.sub->r < 0;  // behind a module that is added to nothing
  const auto r = widened(execution.tensor(alone ? last.sub->input : last.sub->r));
  if (alone) execution.run_nodes(last.sub->nodes);
  const auto like = widened(execution.tensor(last.sub->h));
  if (pass.hidden != nullptr && pass.hidden->empty() && r.sizes() == like.sizes()) pass.hidden->push_back(r);
  at::Tensor read;
  if (alone && last.place->site->takes_parallel()) read = pass.pack(r);
  auto y = pass.pack(alone ? at::zeros_like(like) : stream_of(execution, *last.sub));
  for (const auto& end : ends) {
    const auto h = pass.pack(widened(execution.tensor(end.sub->h)));
    auto* norm = &end == &last ? end.norm : nullptr;
    y = &end == &last && end.norm_slot != nullptr ? finish_at(*end.place->site, *end.norm_slot, h, y, here)
                                                  : end.place->site->forward(h, y, norm, here, read);
  }
  if (changes) y = last.place->reft->forward(y, here);
  auto value = pass.unpack(y, like);
  if (is_parted(execution, *last.sub)) value = parted(pass, value);
  if (last.place->reft != nullptr && pass.hidden != nullptr) pass.hidden->push_back(value);
  execution.set(last.sub->out, as_slot(execution, last.sub->out, value));
  return true;
}

}  // namespace

void add_site_hooks(Program& program, const Tree& tree, const std::vector<SitePlace>& sites) {
  for (const auto& ends : ends_of(tree, sites)) {
    const auto& sub = *ends[0].sub;
    const bool source = of_source(program, tree, sub.out);
    if (ends.size() == 1 && sub.r >= 0 && sub.more.empty()) {
      const bool is_own = is_sum_alone(program.graph(), sub, ends[0].norm);
      program.hook(sub.nodes, [end = ends[0], is_own, source](Execution& execution, const void* p) {
        return finish_one(end, is_own, pass_of(p, source), execution);
      });
    } else {
      program.hook(sub.nodes, [ends, source](Execution& execution, const void* p) {
        return finish_all(ends, pass_of(p, source), execution);
      });
    }
  }
}

void add_slot_hooks(Program& program, const Tree& tree, const std::vector<int64_t>& layer_of,
                    const std::vector<SitePlace>& sites) {
  const auto crosses_site = [&](const Range& nodes) {
    return std::any_of(sites.begin(), sites.end(), [&](const SitePlace& place) {
      return std::any_of(place.sub_layers.begin(), place.sub_layers.end(),
                         [&](const SubLayer& sub) { return crosses(nodes, sub.nodes); });
    });
  };
  for (const auto& place : tree.slots()) {
    if (crosses_site(place.nodes)) continue;
    const int64_t layer = layer_of[place.nodes.first];
    program.hook(place.nodes, [&place, layer](Execution&, const void* p) {
      if (place.slot->layer == place.own) return false;
      const LayerContext here(pass_of(p, place.source).context, layer);
      Running::replace(place, *place.slot->layer, here);
      return true;
    });
  }
}

void add_begin_hook(Program& program, const Tree& tree, int32_t slot, InvertiblePlace& place) {
  const int32_t node = program.graph().slots[slot].producer;
  if (node < 0) return;
  const bool source = of_source(program, tree, slot);
  program.hook(tree.product_at(node),
               [slot, nodes = tree.product_at(node), source, &place](Execution& execution, const void* p) {
                 const auto& pass = pass_of(p, source);
                 if (!place.reaches(pass.context)) return false;
                 execution.run_nodes(nodes);
                 const auto x = widened(execution.tensor(slot));
                 const auto y = pass.unpack(place.forward(pass.pack(x), pass.context), x);
                 execution.set(slot, as_slot(execution, slot, y));
                 return true;
               });
}

}  // namespace ta::exported
