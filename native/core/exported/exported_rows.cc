// ExportedModel's part that tells what a graph asks for, and that runs it: rows go in as exported_inputs.cc gives them,
// and what comes out is packed.

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>

#include <algorithm>
#include <optional>

#include "core/adapters/fusion_scores.h"
#include "core/adapters/parallel_layer.h"
#include "core/error.h"
#include "core/exported/batch_parts.h"
#include "core/exported/exported_model.h"
#include "core/exported/mixed_precision.h"
#include "core/models/encoder.h"
#include "core/nn/layer_context.h"
#include "core/nn/sequential.h"

namespace ta::exported {

namespace {

bool is_integral(const SlotInfo& info) {
  return info.dtype && at::isIntegralType(*info.dtype, true);
}

// Of what surgery put in a module's place, the graph's own modules left out.
bool inserted_reads_rows(const Module& module) {
  if (dynamic_cast<const GraphModule*>(&module) != nullptr) return false;
  const auto* layer = dynamic_cast<const Layer*>(&module);
  const bool of_parts =
      dynamic_cast<const Sequential*>(&module) != nullptr || dynamic_cast<const ParallelLayer*>(&module) != nullptr;
  if (layer != nullptr && !of_parts && layer->reads_whole_rows()) return true;
  return std::any_of(module.children().begin(), module.children().end(),
                     [](const Module::Child& child) { return inserted_reads_rows(*child.module); });
}

constexpr const char* kBeside[] = {"attention_mask", "token_type_ids", "position_ids", "decoder_attention_mask"};

}  // namespace

// Of the tokens that come out, where rows are text; null: they are numbers.
const Input* ExportedModel::ids_input() const {
  const char* name = facts_.has_decoder ? "decoder_input_ids" : "input_ids";
  for (const auto* input : user_inputs_) {
    const auto& info = program_->graph().slots[input->slot];
    if (is_unread(*input) || !is_integral(info) || info.shape.size() != 2) continue;
    if (input->name == name || user_inputs_.size() == 1) return input;
  }
  return nullptr;
}

void ExportedModel::collect_facts() {
  const auto& graph = program_->graph();
  const auto columns_of = [&](int32_t slot) -> Columns {
    const auto& columns = graph.slots[slot].shape[1];
    if (columns.symbol < 0) return {columns.number, columns.number};
    const auto& symbol = graph.symbols[columns.symbol];
    return {std::max<int64_t>(1, symbol.least), symbol.most >= (int64_t{1} << 31) ? 0 : symbol.most};
  };
  std::vector<std::string> unknown;
  const auto* ids = ids_input();
  const Input* values = nullptr;
  for (const auto* input : user_inputs_) {
    if (is_unread(*input)) continue;
    facts_.inputs.push_back(input->name);
    const auto& info = graph.slots[input->slot];
    if (!info.shape.empty() && info.shape[0].number > 1) {
      fail(ErrorCode::unsupported, "load the exported model",
           text("the graph takes ", info.shape[0].number, " rows at once, no more and no fewer"),
           {.expected = text("a number of rows that varies, as ", input->name, " [batch, …]"),
            .got = text(input->name, " ", shape_text(graph, input->slot)),
            .hint = "Export it with a name for the first size of every input"});
    }
    if (std::find(std::begin(kBeside), std::end(kBeside), input->name) != std::end(kBeside)) continue;
    if (facts_.has_decoder && input->name == "input_ids") {
      source_ids_ = input->slot;
      continue;
    }
    if (input == ids) {
      ids_ = input->slot;
    } else if (info.dtype == at::kFloat && values == nullptr) {
      values = input;
    } else {
      unknown.push_back(input->name);
    }
  }
  if (!unknown.empty() || (ids_ >= 0) == (values != nullptr)) {
    fail(ErrorCode::unsupported, "load the exported model", "the graph asks for what rows do not have",
         {.expected = "input_ids, with attention_mask, token_type_ids, position_ids, and a decoder's; or one "
                      "floating-point input, with attention_mask",
          .got = name_list(facts_.inputs),
          .hint = "Export a module that takes these alone, such as an encoder"});
  }
  if (values != nullptr) note_row_tokens(*values);
  if (source_ids_ >= 0) source_columns_ = columns_of(source_ids_);
  if (ids_ >= 0) {
    if (const auto* words = word_embeddings()) facts_.vocabulary = words->own_parameters()[0].shape[0];
    columns_ = columns_of(ids_);
    facts_.longest_row = columns_.most;
  }
  facts_.has_pooler = pooler_.has_value();
  facts_.layers = static_cast<int64_t>(residuals_.layers.size());
  if (!residuals_.layers.empty()) {
    const auto& path = graph.modules[residuals_.layers[0]].path;
    facts_.layers_path = path.substr(0, path.rfind('.'));
  }
  const auto layers = layers_of_nodes();
  const auto runs = [&](int32_t node) { return !encoder_alone_ || node <= graph.slots[output_].producer; };
  for (const auto& linear : tree_->linears()) {
    if (!runs(linear.products[0].node)) continue;
    const auto size = linear.layer->size();
    Facts::Linear fact{linear.path, layers[linear.products[0].node], size.in, size.out, linear.layer->transposed(), {},
                       linear.place};
    for (const auto& sub : residuals_.sub_layers) {
      fact.merged = fact.merged || sub.merged == linear.products[0].weight;
      for (const auto& placed : sub.products)
        if (placed.product.weight == linear.products[0].weight) fact.location = placed.location;
    }
    facts_.linears.push_back(std::move(fact));
  }
  facts_.unclear_linears = tree_->unclear_linears();
  facts_.explanation = explain(graph, residuals_);
  facts_.explanation.insert(facts_.explanation.end(), facts_.no_prefix.begin(), facts_.no_prefix.end());
  facts_.sites = describe_sites(graph, residuals_);
  if (!prefix_.empty()) {
    facts_.explanation.push_back(text("names begin with '", prefix_,
                                      ".': the network has a module that is called as what stands beside it here"));
  }
  see_causality();
  see_padding();
  if (!facts_.own_head_reads_rows || (own_head_->reads == OwnHead::Reads::last) == facts_.is_causal) return;
  fail(ErrorCode::unsupported, "load the exported model",
       "the network's own head reads another token of each row than heads do",
       {.expected = "the first, or the last where tokens see only those before them",
        .hint = "Export the base model (--class AutoModel), and add a head here"});
}

// Blocks that part a row, gates that mean over it, positions counted from its end.
bool ExportedModel::asks_where_rows_end(const ForwardContext& context) {
  for (const auto& place : tree_->slots())
    if (!place.of_rows && place.slot->layer != place.own && inserted_reads_rows(*place.slot->layer)) return true;
  if (context.segments == nullptr) return false;
  if (context.fusion_scores != nullptr) return true;
  bool asks = false;
  for (const auto& segment : *context.segments) {
    if (!segment.setup) continue;
    segment.setup->visit([&](const Composition& part) {
      asks = asks || part.kind == Composition::Kind::split ||
             (part.kind == Composition::Kind::adapter && reads_whole_rows(*this, part.index));
    });
  }
  return asks;
}

const char* ExportedModel::own_mask() const {
  return source_ids_ >= 0 ? "decoder_attention_mask" : "attention_mask";
}

// A row that is shorter than the graph takes has padding, which the mask hides as it does in PyTorch.
void ExportedModel::check_padding(const PaddedRows& rows, int64_t least, const char* mask) const {
  const auto lengths = rows.layout().lengths();
  const bool masked = asks_for(mask);
  if (*std::min_element(lengths.begin(), lengths.end()) >= least || (masked && rows_mix_)) return;
  fail(ErrorCode::unsupported, "forward",
       text("a row is shorter than the graph takes, and ", masked ? "padding changes its answer, under the mask, too"
                                                                  : text("has no ", mask, " to hide padding with")),
       {.expected = text("rows of at least ", least, " tokens"),
        .hint = masked ? "Export it with --range for rows as short as that"
                       : text("Export it with ", mask, " among its inputs")});
}

// What heads for rows read: [tokens, n] → [rows, n].
at::Tensor ExportedModel::pooled(const at::Tensor& states, const PackedBatch& batch) const {
  if (pooling_ != Pooling::mean)
    return states.index_select(0, pooling_ == Pooling::first ? batch.first_tokens : batch.last_tokens);
  std::vector<at::Tensor> means;
  for (const auto& [start, count, length] : batch.layout.groups())
    means.push_back(states.narrow(0, start, count * length).view({count, length, states.size(1)}).mean(1));
  return means.size() == 1 ? means[0] : at::cat(means);
}

Encoded ExportedModel::encode(const PackedBatch& batch, const ForwardContext& context, const EncodeRequest& request) {
  const auto in_parts = [&](const std::vector<Rows>& parts) {
    return encode_parts(batch, context, parts, rows_mix_ ? -1 : open_size(),
                        [&](const PackedBatch& part, const ForwardContext& own) { return encode(part, own, request); });
  };
  if (meets_shared(context)) {
    if (const auto parts = rows_by_setup(*context.segments, batch.layout.rows()); parts.size() > 1)
      return in_parts(parts);
  }
  if (rows_mix_ || is_of_one_length(batch)) return encode_together(batch, context, request);
  return in_parts(rows_by_length(batch));
}

// Whether adapters stand at a Linear that all rows share, such as DeBERTa's of positions, for which one setup is to be
// chosen.
bool ExportedModel::meets_shared(const ForwardContext& context) const {
  if (context.segments == nullptr || context.segments->size() < 2) return false;
  return std::any_of(shared_.begin(), shared_.end(), [&](const SharedLinear& one) {
    return one.linear->layer->extended(LayerContext(context, one.layer));
  });
}

Encoded ExportedModel::encode_together(const PackedBatch& batch, const ForwardContext& context,
                                       const EncodeRequest& request) {
  // Values that rows of numbers were padded with are tokens of the rectangle, too.
  const int64_t least = ids_ >= 0 ? columns_.least : batch.value_lengths.empty() ? 1 : tokens_of(batch.pixels);
  const PaddedRows rows(batch.layout, program_->device(), least);
  check_padding(rows, ids_ >= 0 ? least : 1, own_mask());
  std::optional<bool> asks;  // of rows of several lengths alone
  const auto rectangle = [&](const PaddedRows& one) {
    if (one.even()) return false;
    if (!asks) asks = asks_where_rows_end(context);
    return !*asks;
  };
  const auto layout = [&](const PaddedRows& one, const RowLayout& own) {
    return context.with(rectangle(one) ? one.rectangle() : own);
  };
  const auto inner = layout(rows, batch.layout);
  std::vector<at::Tensor> hidden;
  Pass pass{inner, rows, rectangle(rows), request.hidden_states ? &hidden : nullptr};

  std::optional<PaddedRows> source;
  std::optional<ForwardContext> source_context;
  std::optional<Pass> encoder;
  if (source_ids_ >= 0) {
    source.emplace(batch.source_layout, program_->device(), source_columns_.least);
    check_padding(*source, source_columns_.least, "attention_mask");
    source_context = layout(*source, batch.source_layout);
    // Whose scores they are a place says by its layer, and tokens of two kinds have no one form: the decoder's are
    // kept.
    source_context->fusion_scores = nullptr;
    encoder.emplace(Pass{*source_context, *source, rectangle(*source)});
    pass.encoder = &*encoder;
  }
  Execution execution(*program_, &pass, context.random != nullptr);
  const Running running(execution, pass);
  Encoded result;
  const auto given = inputs_of(batch, rows, source ? &*source : nullptr);
  at::Tensor states;
  if (reads_row_output_) {
    const auto outputs = execution.run(given);
    states = outputs[output_index_], result.row_states = outputs[rows_index_];
  } else {
    states = widened(execution.run_to(output_, given));
  }
  if (ids_ >= 0 && states.dim() == 3 && states.size(1) != rows.columns()) {
    fail(ErrorCode::unsupported, "forward",
         text("the network gives ", states.size(1), " tokens for a row of ", rows.columns()),
         {.expected = "as many tokens as a row has, or one value a row",
          .hint = "Let it give the rows' own tokens alone (output[:, 1:] behind one of its own), or one of them "
                  "(output[:, 0])"});
  }
  result.rows_only = ids_ >= 0 && states.dim() == 2;
  if (result.rows_only ? states.size(0) != rows.rows() : !pass.fits(states)) {
    fail(ErrorCode::unsupported, "forward",
         text("the network gives values of sizes ", states.sizes(), " for ", rows.rows(), " rows of ", rows.columns()),
         {.expected = "one value for each token, or one for each row", .hint = "Export the model again"});
  }
  result.last = result.rows_only  ? states
                : rectangle(rows) ? rows.pack(states)
                                  : widened(pass.packed(execution, output_));
  if (!reads_row_output_ && pooling_ != Pooling::automatic && !result.rows_only)
    result.row_states = pooled(result.last, batch);
  if (!request.hidden_states) return result;
  if (static_cast<int64_t>(hidden.size()) != main_layers_ + 1) {
    fail(ErrorCode::unsupported, "forward", "the layers' hidden states were not found in this graph",
         {.hint = "explainPlacement() tells what was found; leave outputHiddenStates off"});
  }
  for (const auto& one : hidden) result.hidden_states.push_back(rows.pack(one));
  // As in transformers: a decoder's last one has been through the last LayerNorm.
  if (facts_.is_causal && facts_.output_width == facts_.hidden) result.hidden_states.back() = result.last;
  return result;
}

}  // namespace ta::exported
