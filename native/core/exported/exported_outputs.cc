// ExportedModel's part that chooses among a graph's outputs: whose tokens the batch has, and what heads for rows read.

#include <algorithm>
#include <optional>

#include "core/error.h"
#include "core/exported/export_note.h"
#include "core/exported/exported_model.h"
#include "core/exported/module_shapes.h"
#include "core/state/dtype.h"

namespace ta::exported {

namespace {

const char* kOperation = "load the exported model";
// What transformers calls the output of a class with a head.
const char* kLogits = "logits";

bool is_slot(const Argument& argument, const Graph& graph) {
  return argument.kind == Argument::Kind::slot && graph.slots[argument.slot].is_tensor;
}

// The scores [rows, tokens, 2] of which two values are the first and the second column; -1: they are not that.
int32_t joined_columns(const Graph& graph, int32_t first, int32_t second) {
  const auto part = [&](int32_t slot) {
    for (int steps = 0; steps < 8 && slot >= 0 && graph.slots[slot].producer >= 0; ++steps) {
      const auto& node = graph.nodes[graph.slots[slot].producer];
      if (node.outputs.size() == 2) return slot;
      const auto& name = node.operator_name();
      if (name != "aten.squeeze.dim" && name != "aten.contiguous.default" && name != "aten.to.dtype") break;
      slot = node.slot(0);
    }
    return -1;
  };
  const int32_t start = part(first), end = part(second);
  if (start < 0 || end < 0 || graph.slots[start].producer != graph.slots[end].producer) return -1;
  const auto& node = graph.nodes[graph.slots[start].producer];
  if (node.outputs[0] != start || node.outputs[1] != end || node.slot(0) < 0) return -1;
  const auto& shape = graph.slots[node.slot(0)].shape;
  return shape.size() == 3 && shape.back().number == 2 ? node.slot(0) : -1;
}

std::string described(const Graph& graph, const std::vector<std::string>& names) {
  std::string result;
  for (size_t i = 0; i < names.size(); ++i) {
    result += (i == 0 ? "" : ", ") + names[i];
    if (!is_slot(graph.outputs[i], graph)) continue;
    const auto& slot = graph.slots[graph.outputs[i].slot];
    result += text(" ", shape_text(graph, graph.outputs[i].slot));
    if (slot.dtype && slot.dtype != at::kFloat) result += text(" in ", dtype_name(*slot.dtype));
  }
  return result;
}

// What an image's network without tokens gives.
bool gives_maps(const Graph& graph) {
  return std::any_of(graph.outputs.begin(), graph.outputs.end(), [&](const Argument& output) {
    return is_slot(output, graph) && graph.slots[output.slot].shape.size() == 4;
  });
}

// How many rows a pass has, as the first input has it.
std::optional<Size> rows_size(const Graph& graph) {
  for (const auto& input : graph.inputs)
    if (input.kind == Input::Kind::user && input.slot >= 0 && !graph.slots[input.slot].shape.empty())
      return graph.slots[input.slot].shape.front();
  return std::nullopt;
}

bool has_head(const Graph& graph, const Weights& weights, int32_t logits) {
  try {
    find_own_head(graph, weights, logits, false);
    return true;
  } catch (const Error& error) {
    if (error.code != ErrorCode::unsupported) throw;
    return false;
  }
}

}  // namespace

// Names of the graph's outputs: those that the archive notes, else the graph's own.
void ExportedModel::read_output_names() {
  const auto& graph = program_->graph();
  const auto names = noted_texts(archive_, "output_names");
  for (size_t i = 0; i < graph.outputs.size(); ++i) {
    const auto& output = graph.outputs[i];
    const bool noted = names.size() == graph.outputs.size();
    facts_.outputs.push_back(noted ? names[i] : is_slot(output, graph) ? graph.slots[output.slot].name : "");
  }
}

// Of a class that answers questions: where its two outputs are parted from each other; -1: it is none.
int32_t ExportedModel::find_spans() const {
  const auto& graph = program_->graph();
  const auto slot_of = [&](const char* name) {
    for (size_t i = 0; i < graph.outputs.size(); ++i)
      if (facts_.outputs[i] == name && is_slot(graph.outputs[i], graph)) return graph.outputs[i].slot;
    return -1;
  };
  return joined_columns(graph, slot_of("start_logits"), slot_of("end_logits"));
}

void ExportedModel::take_own_head(int32_t logits) {
  const auto& graph = program_->graph();
  own_head_ = find_own_head(graph, *weights_, logits, true);
  output_ = own_head_->states;
  facts_.own_labels = graph.slots[own_head_->logits].shape.back().number;
  facts_.own_head_reads_rows = own_head_->reads != OwnHead::Reads::tokens;
  if (facts_.own_head_reads_rows && pooling_ != Pooling::automatic) {
    fail(ErrorCode::invalid_argument, kOperation, "the network's own head reads one token of each row",
         {.expected = "no pooling, which is for the heads that are added to a base model",
          .hint = "Export the base model (--class AutoModel)"});
  }
}

// Which output's tokens are the batch's, and what heads for rows read. Gives the sizes in front of the features.
std::vector<Size> ExportedModel::find_output(const std::string& name) {
  const auto& graph = program_->graph();
  const auto fits = [&](const Argument& output, size_t rank) {
    if (!is_slot(output, graph)) return false;
    const auto& info = graph.slots[output.slot];
    return info.shape.size() == rank && info.shape.back().number > 0 && info.dtype == at::kFloat;
  };
  // Outputs that are no tensors are not counted by a run.
  const auto index_of = [&](size_t place) {
    return static_cast<size_t>(std::count_if(graph.outputs.begin(), graph.outputs.begin() + place,
                                             [&](const Argument& output) { return is_slot(output, graph); }));
  };
  std::optional<size_t> named, states;
  for (size_t i = 0; i < graph.outputs.size(); ++i)
    if (!name.empty() && facts_.outputs[i] == name) named = i;
  if (!name.empty() && (!named || !(fits(graph.outputs[*named], 3) || fits(graph.outputs[*named], 2)))) {
    fail(ErrorCode::invalid_argument, kOperation,
         text("the output '", name, named ? "' has no value for each token or row" : "' is none of the graph's"),
         {.expected = "an output [rows, tokens, features] or [rows, features] in float32",
          .got = described(graph, facts_.outputs)});
  }
  if (named && fits(graph.outputs[*named], 3)) states = named;
  // States of a recurrent layer have its rows elsewhere, and one number a token is a weight or a score of it: where
  // anything else is there, that is read.
  const auto is_likely = [&](const Argument& output) {
    const auto& shape = graph.slots[output.slot].shape;
    return shape.front() == rows_size(graph) && shape.back().number > 1;
  };
  for (bool likely : {true, false})
    for (size_t rank : {3, 2})
      for (size_t i = 0; i < graph.outputs.size() && !states; ++i)
        if (fits(graph.outputs[i], rank) && (!likely || is_likely(graph.outputs[i]))) states = i;
  if (const int32_t spans = name.empty() ? find_spans() : -1; spans >= 0) {
    take_own_head(spans);
    facts_.own_head_gives_spans = true;
    const auto& shape = graph.slots[output_].shape;
    facts_.output_width = shape.back().number;
    return {shape.begin(), shape.end() - 1};
  }
  // Of logits beside states: where no head by itself makes them, heads read the states.
  for (size_t i = 0; i < graph.outputs.size() && (name.empty() || name == kLogits); ++i) {
    if (facts_.outputs[i] != kLogits || !(fits(graph.outputs[i], 3) || fits(graph.outputs[i], 2))) continue;
    if (!name.empty() || has_head(graph, *weights_, graph.outputs[i].slot)) states = i;
    break;
  }
  if (!states) {
    fail(ErrorCode::unsupported, kOperation, "the graph gives no hidden states",
         {.expected = "an output [rows, tokens, features] or [rows, features] in float32",
          .got = described(graph, facts_.outputs),
          .hint = gives_maps(graph)
                      ? "Export a module whose forward makes tokens of the places of [rows, channels, height, "
                        "width] (states.flatten(2).transpose(1, 2)), or one vector of each row"
                      : "Export the base model in float32, without a head of its own"});
  }
  const size_t read = named ? *named : *states;
  if (pooling_ != Pooling::automatic && facts_.outputs[read] != kLogits && !fits(graph.outputs[read], 3)) {
    fail(ErrorCode::invalid_argument, kOperation,
         text("pooling: the output '", facts_.outputs[read], "' has one value for each row"),
         {.expected = "no pooling, which is for an output with a value for each token",
          .hint = "Leave it out, or name another output (model.config.exported.outputs)"});
  }
  // Of several outputs with one value a row the named one is read.
  if (named && fits(graph.outputs[*named], 2) && !fits(graph.outputs[*states], 3)) states = named;
  output_ = graph.outputs[*states].slot, output_index_ = index_of(*states);
  if (facts_.outputs[*states] == kLogits) {
    take_own_head(output_);
    if (named && *named == *states) named.reset();
  }
  const auto& shape = graph.slots[output_].shape;
  facts_.output_width = shape.back().number;
  if (named && *named != *states) {
    reads_row_output_ = true, rows_index_ = index_of(*named);
    const auto& info = graph.slots[graph.outputs[*named].slot];
    if (info.shape.back().number != facts_.output_width) {
      fail(ErrorCode::unsupported, kOperation, text("the output '", name, "' has another width than the hidden states"),
           {.expected = text(facts_.output_width, " features"),
            .got = text(info.shape.back().number),
            .hint = "Export a module that gives this output alone"});
    }
  }
  return {shape.begin(), shape.end() - 1};
}

Streams ExportedModel::find_streams(const Reading& reading) {
  const auto& graph = program_->graph();
  read_output_names();
  Streams streams{find_output(reading.output), {}};
  const auto named = [&](const char* name) -> const Input* {
    const auto found =
        std::find_if(user_inputs_.begin(), user_inputs_.end(), [&](const Input* input) { return input->name == name; });
    return found == user_inputs_.end() ? nullptr : *found;
  };
  for (const auto* input : user_inputs_) {
    const auto &given = graph.slots[input->slot].shape, &tokens = streams.tokens;
    if (given.size() < 2 || tokens.size() != 2 || tokens[0].symbol < 0 || tokens[0] == given[0]) continue;
    if (tokens[0] != given[1]) continue;
    fail(ErrorCode::unsupported, kOperation,
         text("the output has tokens before rows, and the input '", input->name, "' rows"),
         {.expected = "an output [rows, tokens, features]",
          .got = shape_text(graph, output_),
          .hint = "Let the network turn it round (output.transpose(0, 1)), or use layers with batch_first=True"});
  }
  const auto *source = named("input_ids"), *decoder = named("decoder_input_ids");
  if (source == nullptr || decoder == nullptr) {
    // Where one value a row comes out, the tokens are those of its ids.
    const auto* ids = streams.tokens.size() == 1 ? ids_input() : nullptr;
    if (ids != nullptr) streams.tokens = graph.slots[ids->slot].shape;
    return streams;
  }
  facts_.has_decoder = true;
  const auto& shape = graph.slots[source->slot].shape;
  const auto& written = graph.slots[decoder->slot].shape;
  const bool two = shape.size() == 2 && written.size() == 2 && shape[1].symbol >= 0 && shape[1] != written[1];
  if (two && streams.tokens == written) {
    streams.source = shape;
    return streams;
  }
  // The encoder by itself: what is behind it does not run.
  if (two && streams.tokens == shape && !reading.output.empty()) {
    facts_.has_decoder = false, encoder_alone_ = true;
    return streams;
  }
  fail(ErrorCode::unsupported, kOperation, "an encoder and a decoder are read where the states of one of them come out",
       {.expected = "input_ids and decoder_input_ids with columns of their own, and an output of the tokens of either",
        .got = text("the output '", reading.output.empty() ? facts_.outputs[0] : reading.output, "'"),
        .hint = "Export the encoder by itself with --part encoder"});
}

}  // namespace ta::exported
