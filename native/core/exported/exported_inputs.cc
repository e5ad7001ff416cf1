// ExportedModel's part in front of the graph: what goes in, by the names that PyTorch gave its inputs.
//
//   input_ids, attention_mask, token_type_ids, position_ids       [rows, columns]
//   decoder_input_ids, decoder_attention_mask                     the same of the decoder's rows; those above are the
//                                                                 encoder's then
//   one floating-point input of any name                          [rows, …]: images, sounds, features. One of its sizes
//                                                                 may differ from row to row: zeros stand behind
//                                                                 shorter ones, and attention_mask [rows, that size]
//                                                                 says so
//   one input of integers of any name                             ids

#include <ATen/ops/isfinite.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "core/error.h"
#include "core/exported/exported_model.h"

namespace ta::exported {

namespace {

void check_numbers(const std::vector<int32_t>& values, int64_t limit, const char* what) {
  for (size_t i = 0; i < values.size(); ++i) {
    if (values[i] >= 0 && (limit == 0 || values[i] < limit)) continue;
    fail(ErrorCode::out_of_range, "batch", text(what, " ", values[i], " at token ", i, " is none of the model's"),
         {.expected = limit == 0 ? "0 or more" : text("0 .. ", limit - 1), .got = text(values[i])});
  }
}

void check_lengths(const std::vector<int32_t>& lengths, int64_t most, const char* what) {
  for (size_t row = 0; row < lengths.size(); ++row) {
    if (most == 0 || lengths[row] <= most) continue;
    fail(ErrorCode::out_of_range, "batch", text(what, row, " is longer than the graph takes"),
         {.expected = text("at most ", most, " tokens"),
          .got = text(lengths[row]),
          .hint = "Tokenize with truncation (maxLength)"});
  }
}

// [rows, longest]: 1 up to each row's own length.
at::Tensor mask_of(const std::vector<int64_t>& lengths, int64_t longest, at::ScalarType type, at::Device device) {
  auto mask = at::zeros({static_cast<int64_t>(lengths.size()), longest}, at::TensorOptions(type));
  for (size_t row = 0; row < lengths.size(); ++row)
    mask.select(0, static_cast<int64_t>(row)).narrow(0, 0, lengths[row]).fill_(1);
  return mask.to(device);
}

}  // namespace

bool ExportedModel::is_unread(const Input& input) const {
  return encoder_alone_ && input.name.starts_with("decoder_");
}

// Zeros, as few as the graph takes: nothing that runs reads them.
at::Tensor ExportedModel::unread(const Input& input, int64_t rows) const {
  const auto& graph = program_->graph();
  const auto& info = graph.slots[input.slot];
  std::vector<int64_t> sizes;
  for (const auto& size : info.shape)
    sizes.push_back(size.symbol < 0 ? size.number : std::max<int64_t>(1, graph.symbols[size.symbol].least));
  if (!sizes.empty()) sizes[0] = rows;
  return at::zeros(sizes, at::TensorOptions(info.dtype.value_or(at::kLong)).device(program_->device()));
}

bool ExportedModel::asks_for(const char* input) const {
  return std::find(facts_.inputs.begin(), facts_.inputs.end(), input) != facts_.inputs.end();
}

int64_t ExportedModel::open_size() const {
  const auto found = std::find(facts_.image.begin(), facts_.image.end(), -1);
  return found == facts_.image.end() ? -1 : found - facts_.image.begin();
}

// How many tokens come of a row: a number, or what the shapes of the graph say.
void ExportedModel::note_row_tokens(const Input& values) {
  const auto& graph = program_->graph();
  const auto& shape = graph.slots[values.slot].shape;
  for (size_t i = 1; i < shape.size(); ++i) {
    facts_.image.push_back(shape[i].number);
    if (shape[i].number >= 0) continue;
    if (open_symbol_ >= 0) {
      fail(ErrorCode::unsupported, "load the exported model",
           text("rows of '", values.name, "' differ in more than one size, which a row of numbers does not tell"),
           {.expected = text("one size of ", values.name, " beside the number of rows that varies, or none"),
            .got = shape_text(graph, values.slot),
            .hint = "Export it with numbers for the others, as --inputs 'x=float32[batch,3,32,width]'"});
    }
    open_symbol_ = shape[i].symbol;
  }
  const auto& out = graph.slots[output_].shape;
  if (open_symbol_ < 0) {
    auto sizes = facts_.image;
    sizes.insert(sizes.begin(), 1);
    facts_.row_tokens = tokens_of(at::zeros(sizes, at::kFloat));
  } else if (out.size() == 2) {
    facts_.row_tokens = 1;
  } else if (out[1].symbol < 0) {
    facts_.row_tokens = out[1].number;
  } else {
    facts_.length_text = graph.symbols[open_symbol_].text;
    facts_.tokens_text = graph.symbols[out[1].symbol].text;
  }
}

void ExportedModel::prepare(BatchInput& input) const {
  const bool has_values = input.pixels.defined();
  if (has_values != (ids_ < 0)) {
    fail(ErrorCode::invalid_argument, "batch",
         has_values ? "images were given to a model of text" : "tokens were given to a model of images",
         {.expected = has_values ? "ids" : "pixel values", .got = "rows for a model of type " + config_.model_type});
  }
  if (has_values) return prepare_values(input);
  prepare_source(input);
  check_numbers(input.ids, facts_.vocabulary, "id");
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
  check_lengths(input.row_lengths, columns_.most, "row ");
  std::vector<int32_t> columns;
  for (size_t row = 0; row < input.row_lengths.size(); ++row) {
    for (int32_t i = 0; i < input.row_lengths[row]; ++i) columns.push_back(i);
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

// Values of rows as the graph takes them. Where rows differ in length they have one size of their own.
void ExportedModel::prepare_values(BatchInput& input) const {
  const int64_t rows = input.pixels.size(0);
  auto sizes = facts_.image;
  if (input.image_size && sizes.size() == 3) sizes[1] = input.image_size->first, sizes[2] = input.image_size->second;
  int64_t known = 1, open = -1;
  for (size_t i = 0; i < sizes.size(); ++i) {
    if (sizes[i] >= 0) {
      known *= sizes[i];
    } else {
      open = static_cast<int64_t>(i);
    }
  }
  auto counts = input.value_lengths;
  if (counts.empty()) counts.assign(rows, static_cast<int32_t>(input.pixels.size(1)));
  for (int64_t row = 0; row < rows; ++row) {
    const bool fits = open < 0 ? counts[row] == known : counts[row] >= known && counts[row] % known == 0;
    if (fits) continue;
    fail(ErrorCode::invalid_argument, "batch", text("row ", row, " does not fit the model"),
         {.expected = open < 0 ? text(known, " values") : text("a multiple of ", known, " values"),
          .got = text(counts[row])});
  }
  const auto finite = at::isfinite(input.pixels).all(1).contiguous();
  for (int64_t row = 0; row < rows; ++row) {
    if (finite.const_data_ptr<bool>()[row]) continue;
    fail(ErrorCode::invalid_argument, "batch", text("row ", row, " has a value that is no finite number"),
         {.expected = "numbers, as a feature extractor or an image processor gives them"});
  }
  // Under a mask a row that is shorter than the graph takes has zeros behind it, as beside a longer one.
  bool is_short = false;
  if (open >= 0) {
    const int64_t longest = *std::max_element(counts.begin(), counts.end()) / known;
    const int64_t least = rows_mix_ && asks_for("attention_mask") ? program_->graph().symbols[open_symbol_].least : 1;
    is_short = longest < least && static_cast<int64_t>(input.row_lengths.size()) == rows;
    sizes[open] = is_short ? least : longest;
  }
  if (is_short) input.value_lengths = counts;
  const bool even = input.value_lengths.empty();
  auto all = sizes;
  all.insert(all.begin(), rows);
  if (!is_short && (even || open == 0)) {
    input.pixels = input.pixels.view(all);
  } else {
    // Zeros stand behind each line of a shorter row.
    auto padded = at::zeros(all, input.pixels.options());
    for (int64_t row = 0; row < rows; ++row) {
      auto own = sizes;
      own[open] = counts[row] / known;
      const auto values = input.pixels.select(0, row).narrow(0, 0, counts[row]).view(own);
      padded.select(0, row).narrow(open, 0, own[open]).copy_(values);
    }
    input.pixels = padded;
  }
  for (auto& length : input.value_lengths) length = static_cast<int32_t>(length / known);
  const int64_t columns = tokens_of(input.pixels);
  if (even) {
    input.row_lengths.assign(rows, static_cast<int32_t>(columns));
    return;
  }
  // Of a shorter row the caller, who has the shapes, says how many tokens it makes; all are some of the rectangle's.
  const auto longest =
      input.row_lengths.empty() ? 0 : *std::max_element(input.row_lengths.begin(), input.row_lengths.end());
  const bool fit =
      static_cast<int64_t>(input.row_lengths.size()) == rows && (is_short ? longest <= columns : longest == columns);
  if (fit) return;
  fail(ErrorCode::invalid_argument, "batch", "rows do not have the tokens that the graph makes of them",
       {.expected = text(columns, " of the longest row"), .got = text(input.row_lengths.size(), " lengths")});
}

void ExportedModel::prepare_source(BatchInput& input) const {
  if ((source_ids_ >= 0) == input.source_ids.empty()) {
    fail(ErrorCode::invalid_argument, "batch",
         source_ids_ >= 0 ? "the encoder's ids are missing"
                          : "ids for an encoder were given to a model without a decoder",
         {.expected = source_ids_ >= 0 ? "ids of the encoder beside the decoder's" : "ids alone"});
  }
  check_numbers(input.source_ids, facts_.vocabulary, "the encoder's id");
  check_lengths(input.source_lengths, source_columns_.most, "the encoder's row ");
}

int64_t ExportedModel::tokens_of(const at::Tensor& values) const {
  const auto& shape = program_->graph().slots[output_].shape;
  if (shape.size() == 2) return 1;
  if (shape[1].number >= 0) return shape[1].number;
  const auto sizes = values.sizes().slice(1).vec();
  {
    const std::lock_guard lock(tokens_mutex_);
    if (const auto known = tokens_.find(sizes); known != tokens_.end()) return known->second;
  }
  // The graph alone knows how many tokens it makes of a row, and whatever stands in it, adapters or surgery, makes no
  // others.
  const c10::NoGradGuard guard;
  auto all = values.sizes().vec();
  all[0] = 1;
  PackedBatch batch;
  batch.layout = RowLayout({1});
  batch.pixels = at::zeros(all, at::TensorOptions(at::kFloat).device(program_->device()));
  const PaddedRows rows(batch.layout, program_->device());
  Execution execution(*program_, nullptr, false);
  execution.leave_hooks();
  const int64_t tokens = execution.run_to(output_, inputs_of(batch, rows, nullptr)).size(1);
  const std::lock_guard lock(tokens_mutex_);
  return tokens_[sizes] = tokens;
}

std::vector<at::Tensor> ExportedModel::inputs_of(const PackedBatch& batch, const PaddedRows& rows,
                                                 const PaddedRows* source) const {
  std::vector<at::Tensor> inputs;
  for (const auto* input : user_inputs_)
    inputs.push_back(is_unread(*input) ? unread(*input, rows.rows()) : input_of(*input, batch, rows, source));
  return inputs;
}

at::Tensor ExportedModel::input_of(const Input& input, const PackedBatch& batch, const PaddedRows& rows,
                                   const PaddedRows* source) const {
  const auto& info = program_->graph().slots[input.slot];
  const auto type = info.dtype.value_or(at::kLong);
  const auto device = program_->device();
  const int64_t padding = std::max<int64_t>(0, config_.pad_token_id);
  if (input.slot == ids_) return rows.pad_numbers(batch.ids, padding).to(type);
  if (input.slot == source_ids_) return source->pad_numbers(batch.source_ids, padding).to(type);
  const bool ours = input.name == "attention_mask" || input.name == "decoder_attention_mask";
  if (ours && info.shape.size() != 2) {
    fail(ErrorCode::unsupported, "forward", "the graph asks for a mask of another form",
         {.expected = text(input.name, " [rows, columns]"), .hint = "Export it with such a mask"});
  }
  if (ours && ids_ < 0) {
    const int64_t open = open_size(), longest = batch.pixels.size(open < 0 ? -1 : open + 1);
    auto lengths = batch.value_lengths;
    if (lengths.empty()) lengths.assign(batch.pixels.size(0), longest);
    return mask_of(lengths, longest, type, device);
  }
  if (ours) return (source != nullptr && input.name == "attention_mask" ? *source : rows).mask(type, device);
  if (input.name == "token_type_ids") return rows.pad_numbers(*batch.token_types, 0).to(type);
  if (input.name == "position_ids") return rows.pad_numbers(*batch.positions, 0).to(type);
  return batch.pixels;
}

}  // namespace ta::exported
