// Prefixes at attention that a graph writes out. Its own nodes run as they are, on its own keys; the prefix's scores
// meet them at the softmax, and what it gives by the prefix's values is added behind the second product:
//
//   [w; wp] = softmax([s; f(q Kpᵀ)])      y = w V + dropout(wp) Vp
//
// One hook stands at each of the three nodes, and at each that scales by a tensor, which is released behind it.

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tanh.h>

#include "core/exported/prefix_front.h"
#include "core/exported/prefix_hooks.h"
#include "core/nn/layer_context.h"
#include "core/nn/random.h"

namespace ta::exported {

namespace {

// A prefix on its way through one attention: q Kpᵀ [rows, heads, tokens, p], Vp [rows, heads, p, d] and, where not all
// of it is seen, which is [rows, p].
struct PrefixScores {
  at::Tensor scores, values, seen;
};

PrefixScores score(const PrefixPlace& place, const PrefixPlace::Attention& at, const Execution& execution,
                   const Pass& pass, const LayerContext& here) {
  const auto& own = *at.written;
  const auto given = execution.tensor(own.query);
  const auto front = front_at(place, at, pass, here);
  const auto q = heads_apart(given, own.axes.query, own.parted);
  const auto in_type = [&](const at::Tensor& side) {
    return in_heads(side, own.parted.key_heads, own.parted.heads).to(q.scalar_type());
  };
  return {at::matmul(q, in_type(front.k).transpose(-2, -1)), in_type(front.v), front.seen};
}

// By a number or a tensor.
at::Tensor combine(ScoreStep::Kind kind, const at::Tensor& x, const auto& by) {
  using Kind = ScoreStep::Kind;
  switch (kind) {
    case Kind::multiply:
      return x * by;
    case Kind::divide:
      return x / by;
    case Kind::add:
      return x + by;
    case Kind::subtract:
      return x - by;
    case Kind::tanh:
      break;
  }
  return at::tanh(x);
}

at::Tensor take_step(const ScoreStep& step, const at::Tensor& x, const Pass& pass) {
  if (step.slot < 0) return combine(step.kind, x, step.number);
  const auto by = pass.left.at(step.node).front();
  pass.left.erase(step.node);
  return combine(step.kind, x, by);
}

// The dtype that a softmax converts to first; nothing: none.
std::optional<at::ScalarType> type_of(const Node& softmax) {
  const auto& type = softmax.arguments[2].value;
  return type.isInt() ? std::optional(type.toScalarType()) : std::nullopt;
}

// Where axes are in turn, rows and heads may be apart or not on the way.
int64_t key_axis(const Axes& scores, int64_t count) {
  return count - static_cast<int64_t>(scores.size()) + scores.back();
}

// Sets the softmax's own part, and leaves what the prefix adds to the product, [rows, heads, tokens, d].
void share(const WrittenAttention& own, Execution& execution, const Pass& pass) {
  const auto found = pass.left.find(own.softmax);
  auto scores = found->second[0];
  const auto values = found->second[1], seen = found->second[2];
  pass.left.erase(found);
  for (const auto& step : own.steps) scores = take_step(step, scores, pass);
  if (seen.defined()) {
    const auto hidden = seen.logical_not().view({seen.size(0), 1, 1, seen.size(1)});
    scores = scores.masked_fill(hidden, -std::numeric_limits<double>::infinity());
  }
  const auto& node = execution.program().graph().nodes[own.softmax];
  const auto& tokens = execution.tensor(node.slot(0));
  const int64_t axis = key_axis(own.axes.scores, tokens.dim());
  const int64_t length = scores.size(-1), keys = tokens.size(axis);
  const auto front = out_of_order(scores.to(tokens.scalar_type()), tokens, own.axes.scores, own.parted);
  const auto joint = at::softmax(at::cat({front, tokens}, axis), axis, type_of(node));
  execution.set(node.outputs[0], joint.narrow(axis, length, keys).contiguous());
  auto weights = heads_apart(joint.narrow(axis, 0, length), own.axes.scores, own.parted);
  weights = dropout(weights.to(values.scalar_type()), own.dropout, pass.context.random);
  pass.left[own.product] = {at::matmul(weights, values)};
}

}  // namespace

void add_written_prefix(Program& program, const PrefixPlace& place, const PrefixPlace::Attention& at, bool source) {
  const auto& own = *at.written;
  const auto hook = [&](int32_t node, auto act) {
    program.hook({node, node}, [&place, source, act](Execution& execution, const void* p) {
      const auto& pass = static_cast<const Pass*>(p)->side(source);
      const LayerContext here(pass.context, place.layer->layer);
      return place.layer->acts(here) && act(execution, pass, here);
    });
  };
  for (const auto& step : own.steps) {
    if (step.slot < 0) continue;
    hook(step.node, [&step](Execution& execution, const Pass& pass, const LayerContext&) {
      pass.left[step.node] = {execution.tensor(step.slot)};
      return false;
    });
  }
  hook(own.scores, [&place, &at](Execution& execution, const Pass& pass, const LayerContext& here) {
    const auto [scores, values, seen] = score(place, at, execution, pass, here);
    pass.left[at.written->softmax] = {scores, values, seen};
    return false;
  });
  hook(own.softmax, [&own](Execution& execution, const Pass& pass, const LayerContext&) {
    share(own, execution, pass);
    return true;
  });
  hook(own.product, [&own](Execution& execution, const Pass& pass, const LayerContext&) {
    const auto& node = execution.program().graph().nodes[own.product];
    execution.run_nodes({own.product, own.product});
    const auto y = execution.tensor(node.outputs[0]);
    const auto added = pass.left.at(own.product).front();
    pass.left.erase(own.product);
    execution.set(node.outputs[0], y + out_of_order(added, y, own.axes.out, own.parted));
    return true;
  });
}

}  // namespace ta::exported
