#include "core/exported/attend.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/softmax.h>

#include <cmath>

#include "core/exported/mixed_precision.h"

namespace ta::exported {

namespace {

double scalar(const Argument& argument) {
  return argument.value.isScalar() ? argument.value.toScalar().toDouble() : 0;
}

}  // namespace

AttentionInputs attention_inputs(const Execution& execution, int32_t index) {
  const auto& node = execution.program().graph().nodes[index];
  const auto tensor = [&](size_t i) { return node.slot(i) < 0 ? at::Tensor() : execution.tensor(node.slot(i)); };
  AttentionInputs inputs{widened(tensor(0)), widened(tensor(1)), widened(tensor(2)), widened(tensor(3))};
  inputs.dropout = scalar(node.arguments[4]);
  inputs.causal = node.arguments[5].value.toBool();
  const auto& scale = node.arguments[6];
  inputs.scale = scale.value.isNone() ? 1 / std::sqrt(static_cast<double>(inputs.q.size(-1))) : scalar(scale);
  if (inputs.k.size(-3) != inputs.q.size(-3)) {
    const int64_t groups = inputs.q.size(-3) / inputs.k.size(-3);
    inputs.k = inputs.k.repeat_interleave(groups, -3), inputs.v = inputs.v.repeat_interleave(groups, -3);
  }
  return inputs;
}

at::Tensor attend(const AttentionInputs& inputs, Random* random) {
  const auto& [q, k, v, mask, causal, scale, p] = inputs;
  if (random == nullptr || p <= 0) {
    const auto given = mask.defined() ? std::optional(mask) : std::nullopt;
    return at::scaled_dot_product_attention(q, k, v, given, 0, causal, scale);
  }
  auto scores = at::matmul(q, k.transpose(-2, -1)) * scale;
  constexpr double kNever = -std::numeric_limits<double>::infinity();
  if (causal) {
    const auto seen = at::ones({q.size(-2), k.size(-2)}, q.options().dtype(at::kBool)).tril();
    scores = scores.masked_fill(seen.logical_not(), kNever);
  }
  if (mask.defined())
    scores = mask.scalar_type() == at::kBool ? scores.masked_fill(mask.logical_not(), kNever) : scores + mask;
  return at::matmul(dropout(at::softmax(scores, -1), p, random), v);
}

}  // namespace ta::exported
