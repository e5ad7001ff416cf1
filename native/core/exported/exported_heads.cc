// ExportedModel's part for the network's own heads: the pooler, and what makes its logits.

#include <set>

#include "core/exported/exported_model.h"
#include "core/exported/mixed_precision.h"

namespace ta::exported {

void ExportedModel::find_pooler() {
  const auto& graph = program_->graph();
  const int32_t index =
      graph.find_module(own_head_ && !own_head_->base.empty() ? own_head_->base + ".pooler" : "pooler");
  if (index < 0 || graph.modules[index].calls.size() != 1) return;
  const auto& call = graph.modules[index].calls[0];
  if (call.nodes.empty() || !call.contiguous || graph.entering(call.nodes) != std::vector<int32_t>{output_}) return;
  const auto leaving = graph.leaving(call.nodes);
  if (leaving.size() != 1 || graph.slots[leaving[0]].shape.size() != 2) return;
  if (graph.slots[leaving[0]].shape.back().number != facts_.output_width) return;
  pooler_ = Pooler{call.nodes, output_, leaving[0]};
}

at::Tensor ExportedModel::pool(const at::Tensor& first, const ForwardContext& context) {
  const auto single = RowLayout::single(first.size(0));
  const PaddedRows rows(single, first.device());
  const auto inner = context.with(single);
  const Pass pass{inner, rows};
  Execution execution(*program_, &pass, context.random != nullptr);
  const Running running(execution, pass);
  execution.set(pooler_->input, as_slot(execution, pooler_->input, first.unsqueeze(1)));
  execution.run_nodes(pooler_->nodes);
  return widened(execution.tensor(pooler_->output));
}

int32_t ExportedModel::read_by_words() const {
  if (!own_head_ || own_head_->last_product < 0) return -1;
  return program_->graph().nodes[own_head_->last_product].slot(0);
}

// The library of the same name has two ways to put adapters into a class. By its description of a class (Qwen, Gemma,
// Phi, ModernBERT) they are undone before its words. In the classes that it has code for they are not: those of our own
// families, BERT and GPT-2 among them, are like our families all the same.
bool ExportedModel::undoes_before_words() const {
  static const std::set<std::string> kNever{"albert", "bert-generation", "deberta", "deberta-v2",
                                            "gptj",   "llama",           "mistral", "xmod"};
  const int32_t slot = read_by_words();
  // An encoder's words are none of the decoder's.
  if (slot < 0 || facts_.has_decoder || kNever.contains(config_.model_type)) return false;
  return program_->graph().slots[slot].shape.back().number == facts_.hidden;
}

at::Tensor ExportedModel::own_logits(const at::Tensor& states, const ForwardContext& context, bool are_words) {
  const auto single = RowLayout::single(states.size(0));
  const PaddedRows rows(single, states.device());
  // Each token is a row, which passes through what its own row does.
  std::vector<RowSegment> segments;
  auto inner = context.with(single);
  if (context.segments != nullptr) {
    const auto& starts = context.layout->starts();
    for (const auto& [first, last, setup] : *context.segments)
      if (starts[last] > starts[first]) segments.push_back({starts[first], starts[last], setup});
    inner.segments = &segments;
  }
  const Pass pass{inner, rows};
  Execution execution(*program_, &pass, context.random != nullptr);
  const Running running(execution, pass);
  const bool of_rows = program_->graph().slots[own_head_->states].shape.size() == 2;
  execution.set(own_head_->states, as_slot(execution, own_head_->states, of_rows ? states : states.unsqueeze(1)));
  const auto& nodes = own_head_->nodes;
  const bool undoes = are_words && invertible_place().reaches(inner) && undoes_before_words();
  const int32_t last = undoes ? own_head_->last_product : -1;
  for (size_t i = 0; i < nodes.size();) {
    size_t end = i + 1;
    while (end < nodes.size() && nodes[end] == nodes[end - 1] + 1 && nodes[end] != last) ++end;
    if (nodes[i] == last) {
      const auto y = widened(execution.tensor(read_by_words()));
      const auto undone = pass.unpack(invertible_place().inverse(pass.pack(y), inner), y);
      execution.set(read_by_words(), as_slot(execution, read_by_words(), undone));
    }
    execution.run_nodes({nodes[i], nodes[end - 1]});
    i = end;
  }
  const auto logits = execution.tensor(own_head_->logits);
  return logits.dim() == 3 ? logits.squeeze(1) : logits;
}

}  // namespace ta::exported
