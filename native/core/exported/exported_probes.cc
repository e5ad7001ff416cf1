// ExportedModel's part that tries the graph with a few short rows when it is opened: which tokens see which, and
// whether rows of several lengths may share a call.

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/sin.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "core/exported/exported_model.h"

namespace ta::exported {

namespace {

using Lengths = std::vector<int32_t>;

// Tokens of the rows that a graph is tried with; fewer where a mask hides their padding, since most masks do.
const Lengths kLengths = {1, 2, 3, 5, 8, 13, 21}, kMaskedLengths = {2, 5, 13};
// How far an answer in a batch may be from one alone, relative to the largest value: sums of other lengths round
// otherwise, and more in the numbers of 16 bits that some graphs have inside.
constexpr double kRounding = 1e-4, kShortRounding = 3e-2;
// Numbers of the longest row that is tried.
constexpr int32_t kMostNumbers = 1 << 16;

// By slot: the tensors that are made of one. What has its sizes alone is not made of it.
std::vector<bool> made_of(const Graph& graph, int32_t slot) {
  std::vector<bool> made(graph.slots.size(), false);
  made[slot] = true;
  for (const auto& node : graph.nodes) {
    bool reads = false;
    each_read(node, [&](int32_t read) { reads = reads || made[read]; });
    for (int32_t out : node.outputs)
      if (out >= 0 && graph.slots[out].is_tensor) made[out] = reads;
  }
  return made;
}

double rounding_of(const Graph& graph) {
  const bool is_short = std::any_of(graph.slots.begin(), graph.slots.end(), [](const SlotInfo& info) {
    return info.dtype == at::kHalf || info.dtype == at::kBFloat16;
  });
  return is_short ? kShortRounding : kRounding;
}

bool is_near(const at::Tensor& together, const at::Tensor& alone, double rounding) {
  if (together.sizes() != alone.sizes()) return false;
  const double away = (together - alone).abs().max().item<double>();
  return away <= rounding * alone.abs().max().item<double>();
}

// Whether what comes out for row `row` of several is what comes out for it alone.
bool is_alone(const Encoded& together, const RowLayout& layout, int64_t row, const Encoded& alone, double rounding) {
  const auto own = together.rows_only ? together.last.narrow(0, row, 1)
                                      : together.last.narrow(0, layout.starts()[row], layout.length(row));
  return is_near(own, alone.last, rounding) &&
         (!together.row_states.defined() || is_near(together.row_states.narrow(0, row, 1), alone.row_states, rounding));
}

// Ids 0 and 1, in an order of its own for each length.
void add_ids(Lengths& ids, const Lengths& lengths) {
  for (int32_t length : lengths)
    for (int32_t i = 0; i < length; ++i) ids.push_back((i + length) % 2);
}

}  // namespace

// Whether tokens attend to each other: to keys that are made of their ids, and not to what the network keeps.
bool ExportedModel::attends() const {
  const auto& graph = program_->graph();
  const auto made = made_of(graph, ids_);
  return std::any_of(residuals_.sub_layers.begin(), residuals_.sub_layers.end(),
                     [&](const SubLayer& sub) { return sub.core && made[sub.core->key]; }) ||
         std::any_of(graph.nodes.begin(), graph.nodes.end(), [&](const Node& node) {
           return node.operator_name() == "aten.scaled_dot_product_attention.default" && node.slot(1) >= 0 &&
                  made[node.slot(1)];
         });
}

// Rows that differ in some tokens alone. Where tokens see only those before them, the others' values agree when the
// last one differs. Tokens that see none at all are not causal, unless the network's own head goes on from each row's
// last.
void ExportedModel::see_causality() {
  if (ids_ < 0 || program_->graph().slots[output_].shape.size() != 3) return;
  const int64_t length = std::max<int64_t>(3, columns_.least);
  if (columns_.most != 0 && length > columns_.most) return;
  const auto states = [&](int32_t before, int32_t last) {
    auto rows = probe_rows({static_cast<int32_t>(length)}, {static_cast<int32_t>(source_columns_.least)});
    std::fill(rows.ids.begin(), rows.ids.end(), before);
    std::fill(rows.source_ids.begin(), rows.source_ids.end(), 1);
    rows.ids.back() = last;
    return probe(std::move(rows)).last;
  };
  const auto one = states(1, 1), other = states(1, 0);
  pads_behind_ = at::equal(one.narrow(0, 0, length - 1), other.narrow(0, 0, length - 1)) && !at::equal(one, other);
  const auto sees_earlier = [&] { return attends() || !at::equal(one[length - 1], states(0, 1)[length - 1]); };
  const bool goes_on = own_head_ && own_head_->reads != OwnHead::Reads::first;
  facts_.is_causal = pads_behind_ && (goes_on || sees_earlier());
}

// A mask may hide padding from attention, and not from what reads a row as a whole: its last place, the mean of all
// places, a norm over them. Tokens that see none behind them may still see how many there are: positions that are
// counted from the end, sums that are divided by the length. Rows beside longer ones then answer otherwise than alone.
void ExportedModel::see_padding() {
  if (ids_ < 0 && open_size() < 0) return;  // rows of one size
  const char* mask = ids_ < 0 ? "attention_mask" : own_mask();
  const bool masked = asks_for(mask) && (source_ids_ < 0 || asks_for("attention_mask"));
  const bool hidden = masked || (pads_behind_ && (source_ids_ < 0 || asks_for("attention_mask")));
  rows_mix_ = hidden && (ids_ < 0 ? values_answer_as_alone() : texts_answer_as_alone(masked));
  if (rows_mix_) return;
  const char* missing = asks_for(mask) ? "attention_mask" : mask;
  facts_.explanation.push_back(text(
      "rows of several lengths: a pass for those of each length, since ",
      hidden ? text("a row beside a longer one gives something else than alone", masked ? ", under its mask too" : "")
             : text("the graph has no ", missing, " to hide padding with")));
}

BatchInput ExportedModel::probe_rows(const Lengths& lengths, const Lengths& source) const {
  BatchInput input;
  input.row_lengths = lengths;
  add_ids(input.ids, lengths);
  if (source_ids_ < 0) return input;
  input.source_lengths = source;
  add_ids(input.source_ids, source);
  return input;
}

// One value after the other along the size that differs.
BatchInput ExportedModel::probe_values(const Lengths& lengths) const {
  int64_t known = 1;
  for (int64_t size : facts_.image) known *= std::max<int64_t>(1, size);
  const int64_t longest = *std::max_element(lengths.begin(), lengths.end()) * known;
  BatchInput input;
  input.pixels = at::zeros({static_cast<int64_t>(lengths.size()), longest}, at::kFloat);
  for (size_t row = 0; row < lengths.size(); ++row) {
    const int64_t count = lengths[row] * known;
    input.pixels.select(0, static_cast<int64_t>(row)).narrow(0, 0, count).copy_(at::sin(at::arange(count, at::kFloat)));
    input.value_lengths.push_back(static_cast<int32_t>(count));
    auto sizes = facts_.image;
    sizes[open_size()] = lengths[row];
    sizes.insert(sizes.begin(), 1);
    input.row_lengths.push_back(static_cast<int32_t>(tokens_of(at::zeros(sizes, at::kFloat))));
  }
  if (lengths.size() == 1) input.value_lengths.clear();
  return input;
}

Encoded ExportedModel::probe(BatchInput input) {
  const c10::NoGradGuard guard;
  prepare(input);
  const auto batch = PackedBatch::pack(input, program_->device());
  return encode_together(batch, ForwardContext{&batch.layout}, {});
}

// `masked`: by a mask, or else because tokens see none behind them.
bool ExportedModel::texts_answer_as_alone(bool masked) {
  const auto fitting = [](const Lengths& all, const Columns& columns) {
    Lengths lengths;
    for (int32_t length : all)
      if (length >= columns.least && (columns.most == 0 || length <= columns.most)) lengths.push_back(length);
    return lengths;
  };
  auto lengths = fitting(masked ? kMaskedLengths : kLengths, columns_);
  if (lengths.size() < 2) lengths = fitting(kLengths, columns_);
  if (lengths.size() < 2) return true;
  // The longest row beside the shortest of the encoder's.
  auto source = fitting(kLengths, source_columns_);
  if (source.empty()) source.push_back(static_cast<int32_t>(source_columns_.least));
  std::reverse(source.begin(), source.end());
  while (source.size() < lengths.size()) source.push_back(source.back());
  source.resize(lengths.size());
  std::vector<BatchInput> alone;
  for (size_t row = 0; row < lengths.size(); ++row) alone.push_back(probe_rows({lengths[row]}, {source[row]}));
  try {
    return answer_as_alone(probe_rows(lengths, source), alone);
  } catch (const std::exception&) {
    return masked;  // not every length runs in this graph
  }
}

// Rows as short as the graph takes, of which two tokens come or more.
bool ExportedModel::values_answer_as_alone() {
  const auto& graph = program_->graph();
  const auto& symbol = graph.symbols[open_symbol_];
  const bool has_tokens = graph.slots[output_].shape.size() == 3;
  const auto most = std::min<int64_t>(symbol.most, kMostNumbers);
  for (auto n = static_cast<int32_t>(std::clamp<int64_t>(symbol.least, 1, kMostNumbers)); 3 * n <= most; n *= 2) {
    for (const Lengths& lengths : {Lengths{n, n + 1, 3 * n}, Lengths{n, 3 * n}}) {
      try {
        const auto together = probe_values(lengths);
        if (has_tokens && together.row_lengths[0] < 2) break;
        std::vector<BatchInput> alone;
        for (int32_t length : lengths) alone.push_back(probe_values({length}));
        return answer_as_alone(together, alone);
      } catch (const std::exception&) {
        // Too few, or none that this graph takes.
      }
    }
  }
  return true;
}

bool ExportedModel::answer_as_alone(const BatchInput& rows, const std::vector<BatchInput>& alone) {
  const double rounding = rounding_of(program_->graph());
  const auto together = probe(rows);
  const RowLayout layout({rows.row_lengths.begin(), rows.row_lengths.end()});
  for (size_t row = 0; row < alone.size(); ++row)
    if (!is_alone(together, layout, static_cast<int64_t>(row), probe(alone[row]), rounding)) return false;
  return true;
}

}  // namespace ta::exported
