// ExportedModel's part between rows and the graph: what a graph asks for, by the names that PyTorch gave its inputs,
// and what becomes of its output.
//
//   input_ids, attention_mask, token_type_ids, position_ids      [rows, columns]
//   one floating-point input of any name                          [rows, …]: images, audio, features
//   one input of integers of any name                             ids

#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "core/adapters/fusion_scores.h"
#include "core/error.h"
#include "core/exported/exported_model.h"
#include "core/models/encoder.h"
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
  if (layer != nullptr && dynamic_cast<const Sequential*>(layer) == nullptr && layer->reads_whole_rows()) return true;
  return std::any_of(module.children().begin(), module.children().end(),
                     [](const Module::Child& child) { return inserted_reads_rows(*child.module); });
}

void check_numbers(const std::vector<int32_t>& values, int64_t limit, const char* what) {
  for (size_t i = 0; i < values.size(); ++i) {
    if (values[i] >= 0 && (limit == 0 || values[i] < limit)) continue;
    fail(ErrorCode::out_of_range, "batch", text(what, " ", values[i], " at token ", i, " is none of the model's"),
         {.expected = limit == 0 ? "0 or more" : text("0 .. ", limit - 1), .got = text(values[i])});
  }
}

}  // namespace

void ExportedModel::collect_facts() {
  const auto& graph = program_->graph();
  std::vector<std::string> unknown;
  const Input* values = nullptr;
  for (const auto* input : user_inputs_) {
    facts_.inputs.push_back(input->name);
    const auto& info = graph.slots[input->slot];
    const bool known =
        input->name == "attention_mask" || input->name == "token_type_ids" || input->name == "position_ids";
    if (known) continue;
    const bool ids = is_integral(info) && (input->name == "input_ids" || user_inputs_.size() == 1);
    if (ids && ids_ < 0 && info.shape.size() == 2) {
      ids_ = input->slot;
    } else if (info.dtype == at::kFloat && values == nullptr) {
      values = input;
    } else {
      unknown.push_back(input->name);
    }
  }
  if (!unknown.empty() || (ids_ >= 0) == (values != nullptr)) {
    fail(ErrorCode::unsupported, "load the exported model", "the graph asks for what rows do not have",
         {.expected = "input_ids, with attention_mask, token_type_ids, position_ids; or one floating-point input",
          .got = name_list(facts_.inputs),
          .hint = "Export a module that takes these alone, such as an encoder"});
  }
  if (values != nullptr)
    for (size_t i = 1; i < graph.slots[values->slot].shape.size(); ++i)
      facts_.image.push_back(graph.slots[values->slot].shape[i].number);
  if (std::none_of(facts_.image.begin(), facts_.image.end(), [](int64_t size) { return size < 0; }) &&
      values != nullptr) {
    auto sizes = facts_.image;
    sizes.insert(sizes.begin(), 1);
    facts_.row_tokens = tokens_of(at::zeros(sizes, at::kFloat));
  }
  if (ids_ >= 0) {
    if (const auto* words = word_embeddings()) facts_.vocabulary = words->own_parameters()[0].shape[0];
    const auto& columns = graph.slots[ids_].shape[1];
    if (columns.symbol >= 0) {
      const auto& symbol = graph.symbols[columns.symbol];
      least_columns_ = std::max<int64_t>(1, symbol.least);
      facts_.longest_row = symbol.most >= (int64_t{1} << 31) ? 0 : symbol.most;
    } else {
      least_columns_ = facts_.longest_row = columns.number;
    }
  }
  facts_.has_pooler = pooler_.has_value();
  facts_.layers = static_cast<int64_t>(residuals_.layers.size());
  if (!residuals_.layers.empty()) {
    const auto& path = graph.modules[residuals_.layers[0]].path;
    facts_.layers_path = path.substr(0, path.rfind('.'));
  }
  const auto layers = layers_of_nodes();
  for (const auto& linear : tree_->linears()) {
    const auto size = linear.layer->size();
    Facts::Linear fact{linear.path, layers[linear.products[0].node], size.in, size.out, linear.layer->transposed(), {},
                       linear.place};
    for (const auto& sub : residuals_.sub_layers)
      for (const auto& placed : sub.products)
        if (placed.product.weight == linear.products[0].weight) fact.location = placed.location;
    facts_.linears.push_back(std::move(fact));
  }
  facts_.explanation = explain(graph, residuals_);
  facts_.is_causal = see_causality();
}

// Two rows that differ in their last token alone: where tokens see only those before them, the others' values agree.
bool ExportedModel::see_causality() {
  if (ids_ < 0 || program_->graph().slots[output_].shape.size() != 3) return false;
  const int64_t length = std::max<int64_t>(3, least_columns_);
  if (facts_.longest_row != 0 && length > facts_.longest_row) return false;
  const c10::NoGradGuard guard;
  const auto states = [&](int32_t last) {
    BatchInput input;
    input.ids.assign(length, 1);
    input.ids.back() = last;
    input.row_lengths = {static_cast<int32_t>(length)};
    prepare(input);
    const auto batch = PackedBatch::pack(input, program_->device());
    return encode(batch, ForwardContext{&batch.layout}, {}).last;
  };
  const auto one = states(1), other = states(0);
  const bool rest = at::equal(one.narrow(0, 0, length - 1), other.narrow(0, 0, length - 1));
  return rest && !at::equal(one, other);
}

void ExportedModel::prepare(BatchInput& input) const {
  const bool has_values = input.pixels.defined();
  if (has_values != (ids_ < 0)) {
    fail(ErrorCode::invalid_argument, "batch",
         has_values ? "images were given to a model of text" : "tokens were given to a model of images",
         {.expected = has_values ? "ids" : "pixel values", .got = "rows for a model of type " + config_.model_type});
  }
  if (has_values) {
    const int64_t rows = input.pixels.size(0);
    auto sizes = facts_.image;
    if (input.image_size && sizes.size() == 3) sizes[1] = input.image_size->first, sizes[2] = input.image_size->second;
    int64_t known = 1;
    for (int64_t size : sizes) known *= size < 0 ? 1 : size;
    const auto open = std::count_if(sizes.begin(), sizes.end(), [](int64_t size) { return size < 0; });
    if (open > 1 || input.pixels.size(1) % known != 0 || (open == 0 && input.pixels.size(1) != known)) {
      fail(ErrorCode::invalid_argument, "batch", "rows do not fit the model",
           {.expected = text(known, " values a row", open == 0 ? "" : ", or a multiple"),
            .got = text(input.pixels.size(1))});
    }
    sizes.insert(sizes.begin(), rows);
    input.pixels = input.pixels.view(sizes);
    input.row_lengths.assign(rows, static_cast<int32_t>(tokens_of(input.pixels)));
    return;
  }
  check_numbers(input.ids, facts_.vocabulary, "id");
  const auto asks_for = [&](const char* name) {
    return std::find(facts_.inputs.begin(), facts_.inputs.end(), name) != facts_.inputs.end();
  };
  if (!asks_for("token_type_ids")) {
    // A graph without them has its own, zeros.
    const bool other = input.token_types && std::any_of(input.token_types->begin(), input.token_types->end(),
                                                        [](int32_t type) { return type != 0; });
    if (other && config_.type_vocab_size > 0) {
      fail(ErrorCode::unsupported, "batch", "the graph was exported without token_type_ids",
           {.expected = "rows whose token types are all 0", .hint = "Export it with token_type_ids among its inputs"});
    }
    input.token_types.reset();
  } else if (!input.token_types) {
    input.token_types.emplace(input.ids.size(), 0);
  }
  std::vector<int32_t> columns;
  for (size_t row = 0; row < input.row_lengths.size(); ++row) {
    const int64_t length = input.row_lengths[row];
    if (facts_.longest_row != 0 && length > facts_.longest_row) {
      fail(ErrorCode::out_of_range, "batch", text("row ", row, " is longer than the graph takes"),
           {.expected = text("at most ", facts_.longest_row, " tokens"),
            .got = text(length),
            .hint = "Tokenize with truncation (maxLength)"});
    }
    for (int32_t i = 0; i < length; ++i) columns.push_back(i);
  }
  if (asks_for("position_ids")) {
    if (!input.positions) input.positions = std::move(columns);
  } else if (input.positions && *input.positions != columns) {
    fail(ErrorCode::unsupported, "batch", "the graph counts positions itself, from each row's first token on",
         {.expected = "rows without positions of their own, with padding behind them alone",
          .hint = "Export it with position_ids among its inputs"});
  } else {
    input.positions.reset();
  }
}

int64_t ExportedModel::tokens_of(const at::Tensor& values) const {
  const auto& shape = program_->graph().slots[output_].shape;
  if (shape.size() == 2) return 1;
  if (shape[1].number >= 0) return shape[1].number;
  const auto sizes = values.sizes().slice(1).vec();
  if (const auto known = tokens_.find(sizes); known != tokens_.end()) return known->second;
  // The graph alone knows how many tokens it makes of a row.
  const c10::NoGradGuard guard;
  auto all = values.sizes().vec();
  all[0] = 1;
  const RowLayout layout({1});
  const PaddedRows rows(layout, program_->device());
  const ForwardContext context{&layout};
  const Pass pass{context, rows};
  Execution execution(*program_, &pass, false);
  PackedBatch batch;
  batch.layout = layout;
  batch.pixels = at::zeros(all, at::TensorOptions(at::kFloat).device(program_->device()));
  return tokens_[sizes] = execution.run_to(output_, inputs_of(batch, rows)).size(1);
}

std::vector<at::Tensor> ExportedModel::inputs_of(const PackedBatch& batch, const PaddedRows& rows) const {
  std::vector<at::Tensor> inputs;
  for (const auto* input : user_inputs_) inputs.push_back(input_of(*input, batch, rows));
  return inputs;
}

at::Tensor ExportedModel::input_of(const Input& input, const PackedBatch& batch, const PaddedRows& rows) const {
  const auto& info = program_->graph().slots[input.slot];
  const auto type = info.dtype.value_or(at::kLong);
  if (input.slot == ids_) return rows.pad_numbers(batch.ids, std::max<int64_t>(0, config_.pad_token_id)).to(type);
  if (input.name == "attention_mask") {
    if (info.shape.size() == 2) return rows.mask(type, program_->device());
    fail(ErrorCode::unsupported, "forward", "the graph asks for a mask of another form",
         {.expected = "attention_mask [rows, columns]", .hint = "Export it with such a mask"});
  }
  if (input.name == "token_type_ids") return rows.pad_numbers(*batch.token_types, 0).to(type);
  if (input.name == "position_ids") return rows.pad_numbers(*batch.positions, 0).to(type);
  return batch.pixels;
}

// Blocks that part a row, gates that mean over it, positions counted from its end.
bool ExportedModel::asks_where_rows_end(const ForwardContext& context) {
  for (const auto& place : tree_->slots())
    if (place.slot->layer != place.own && inserted_reads_rows(*place.slot->layer)) return true;
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

Encoded ExportedModel::encode(const PackedBatch& batch, const ForwardContext& context, const EncodeRequest& request) {
  const bool masked = std::find(facts_.inputs.begin(), facts_.inputs.end(), "attention_mask") != facts_.inputs.end();
  const PaddedRows rows(batch.layout, program_->device(), ids_ >= 0 ? least_columns_ : 1);
  if (!rows.even() && !masked && !facts_.is_causal) {
    fail(ErrorCode::unsupported, "forward", "the graph was exported without attention_mask",
         {.expected = text("rows of one length, of at least ", least_columns_, " tokens"),
          .hint = "Export it with attention_mask among its inputs"});
  }
  const bool rectangle = !rows.even() && !asks_where_rows_end(context);
  const auto inner = context.with(rectangle ? rows.rectangle() : batch.layout);
  std::vector<at::Tensor> hidden;
  const Pass pass{inner, rows, rectangle, request.hidden_states ? &hidden : nullptr};
  Execution execution(*program_, &pass, context.random != nullptr);
  const Running running(execution, pass);
  Encoded result;
  const auto states = execution.run_to(output_, inputs_of(batch, rows));
  result.last = rectangle ? rows.pack(states) : pass.pack(states);
  if (!request.hidden_states) return result;
  if (hidden.size() != residuals_.layers.size() + 1) {
    fail(ErrorCode::unsupported, "forward", "the layers' hidden states were not found in this graph",
         {.hint = "explainPlacement() tells what was found; leave outputHiddenStates off"});
  }
  for (const auto& states : hidden) result.hidden_states.push_back(rows.pack(states));
  // As in transformers: a decoder's last one has been through the last LayerNorm.
  if (facts_.is_causal) result.hidden_states.back() = result.last;
  return result;
}

}  // namespace ta::exported
