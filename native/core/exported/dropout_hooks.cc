// Dropout of an exported graph while an adapter trains. PyTorch's operators draw from the process's generator, which
// several threads would share in any order; here each draws from its training's own.

#include <ATen/TensorOperators.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/softmax.h>

#include <cmath>

#include "core/exported/hooks.h"

namespace ta::exported {

namespace {

double number(const Argument& argument) {
  return argument.value.isScalar() ? argument.value.toScalar().toDouble() : 0;
}

// dropout(softmax(q kᵀ · scale + mask)) v.   q [rows, heads, tokens, size]
at::Tensor attend(const Execution& execution, const Node& node, double p, Random* random) {
  const auto tensor = [&](size_t i) { return node.slot(i) < 0 ? at::Tensor() : execution.tensor(node.slot(i)); };
  const auto q = tensor(0), mask = tensor(3);
  auto k = tensor(1), v = tensor(2);
  const auto& scale_argument = node.arguments[6];
  const double scale =
      scale_argument.value.isNone() ? 1 / std::sqrt(static_cast<double>(q.size(-1))) : number(scale_argument);
  if (k.size(-3) != q.size(-3)) {
    const int64_t groups = q.size(-3) / k.size(-3);
    k = k.repeat_interleave(groups, -3), v = v.repeat_interleave(groups, -3);
  }
  auto scores = at::matmul(q, k.transpose(-2, -1)) * scale;
  constexpr double kNever = -std::numeric_limits<double>::infinity();
  if (node.arguments[5].value.toBool()) {
    const auto seen = at::ones({q.size(-2), k.size(-2)}, q.options().dtype(at::kBool)).tril();
    scores = scores.masked_fill(seen.logical_not(), kNever);
  }
  if (mask.defined())
    scores = mask.scalar_type() == at::kBool ? scores.masked_fill(mask.logical_not(), kNever) : scores + mask;
  return at::matmul(dropout(at::softmax(scores, -1), p, random), v);
}

}  // namespace

void add_dropout_hooks(Program& program) {
  const auto& nodes = program.graph().nodes;
  for (int32_t i = 0; i < static_cast<int32_t>(nodes.size()); ++i) {
    const auto& node = nodes[i];
    const bool plain = node.operator_name() == "aten.dropout.default";
    const bool attention = node.operator_name() == "aten.scaled_dot_product_attention.default";
    if ((!plain && !attention) || node.outputs.empty() || node.outputs[0] < 0) continue;
    const auto& rate = node.arguments[plain ? 1 : 4];
    const double p = rate.kind == Argument::Kind::constant ? number(rate) : 0;
    if (p <= 0) continue;
    program.hook({i, i}, [&node, plain, p](Execution& execution, const void* pass) {
      auto* random = static_cast<const Pass*>(pass)->context.random;
      if (random == nullptr) return false;
      execution.set(node.outputs[0],
                    plain ? dropout(execution.tensor(node.slot(0)), p, random) : attend(execution, node, p, random));
      return true;
    });
  }
}

}  // namespace ta::exported
