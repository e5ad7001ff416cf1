// Operators that change a tensor in place. Weights are read-only memory (mapped files), shared by every thread, so no
// graph may write to one, nor to what its user gave it. What is a weight by name is seen while a plan is made; a view
// of one is seen when the operator runs (Execution::protect).

#include <algorithm>
#include <iterator>

#include "core/error.h"
#include "core/exported/plan.h"

namespace ta::exported {
namespace {

// Results that are memory of their own, whatever goes in.
constexpr std::string_view fresh[] = {
    "add",    "addmm",       "arange",  "bmm",       "cat",  "clone", "conv1d",     "conv2d",
    "div",    "embedding",   "full",    "full_like", "gelu", "index", "layer_norm", "lift_fresh_copy",
    "linear", "masked_fill", "matmul",  "mm",        "mul",  "neg",   "ones",       "ones_like",
    "relu",   "rsub",        "softmax", "sub",       "tanh", "where", "zeros",      "zeros_like"};

bool is_fresh(const Graph& graph, int32_t slot) {
  const int32_t producer = graph.slots[static_cast<std::size_t>(slot)].producer;
  if (producer < 0) return false;
  const Operator& op = *graph.nodes[static_cast<std::size_t>(producer)].op;
  return op.kind == Node::Kind::aten && std::binary_search(std::begin(fresh), std::end(fresh), op.base_name());
}

}  // namespace

int32_t written_slot(const Graph& graph, const Node& node, const std::string& what, bool& dropped) {
  int32_t written = -1;
  for (std::size_t i = 0; i < node.arguments.size(); ++i) {
    if (!node.op->writes[i] || node.slot(i) < 0) continue;
    // No allowed operator has two.
    written = node.slot(i);
  }
  if (written < 0) return -1;
  for (const Input& input : graph.inputs) {
    if (input.slot != written) continue;
    const bool unused = std::all_of(node.outputs.begin(), node.outputs.end(), [&](int32_t output) {
      if (output < 0) return true;
      const SlotInfo& slot = graph.slots[static_cast<std::size_t>(output)];
      return slot.users.empty() && !slot.is_output;
    });
    if (input.kind == Input::Kind::buffer && unused) {
      // BatchNorm counts its batches; a frozen one has none.
      dropped = true;
      return -1;
    }
    fail(ErrorCode::unsupported, "read " + what, "the graph changes '" + input.name + "' in place",
         {.expected = "weights and inputs that are only read",
          .hint = "Write it in the model as an operation that gives a new tensor."});
  }
  return is_fresh(graph, written) ? -1 : written;
}

bool is_read_only(const Graph& graph, int32_t slot) {
  const SlotInfo& info = graph.slots[static_cast<std::size_t>(slot)];
  // A branch's values, and those that leave, are not followed.
  if (info.producer < 0 || info.is_output) return false;
  for (const int32_t user : info.users) {
    const Node& node = graph.nodes[static_cast<std::size_t>(user)];
    if (node.kind != Node::Kind::aten) return false;
    const auto& arguments = node.op->schema().arguments();
    const bool detaches = node.op->base_name() == "detach_" && node.outputs.size() == 1;
    for (std::size_t i = 0; i < node.arguments.size(); ++i) {
      bool reads = false;
      Graph::each_slot(node.arguments[i], [&](int32_t one) { reads = reads || one == slot; });
      if (!reads || arguments[i].alias_info() == nullptr) continue;
      if (!detaches || !is_read_only(graph, node.outputs[0])) return false;
    }
  }
  return true;
}

}  // namespace ta::exported
