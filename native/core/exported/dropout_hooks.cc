// Dropout of an exported graph while an adapter trains. PyTorch's operators draw from the process's generator, which
// several threads would share in any order; here each draws from its training's own.

#include "core/exported/attend.h"
#include "core/exported/hooks.h"
#include "core/exported/mixed_precision.h"

namespace ta::exported {

namespace {

double number(const Argument& argument) {
  return argument.value.isScalar() ? argument.value.toScalar().toDouble() : 0;
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
    program.hook({i, i}, [&node, i, plain, p](Execution& execution, const void* pass) {
      auto* random = static_cast<const Pass*>(pass)->context.random;
      if (random == nullptr) return false;
      const auto y = plain ? dropout(widened(execution.tensor(node.slot(0))), p, random)
                           : attend(attention_inputs(execution, i), random);
      execution.set(node.outputs[0], as_slot(execution, node.outputs[0], y));
      return true;
    });
  }
}

}  // namespace ta::exported
