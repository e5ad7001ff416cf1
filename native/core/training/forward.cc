#include "core/training/forward.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/nonzero.h>

#include <algorithm>

#include "core/adapters/prefix_layer.h"
#include "core/training/loss.h"

namespace ta {

void check_labels(AdapterModel& model, const PackedBatch& batch, const std::string& head_name) {
  if (head_name.empty() || !batch.labels) return;
  auto& head = model.head(head_name);
  const bool masked = head.predicts_words();
  check_labels(head.config(), *batch.labels, head.reads_rows() ? batch.layout.rows() : batch.layout.tokens(),
               masked ? model.backbone().config().vocab_size : head.config().num_labels);
}

namespace {

// The backbone, and the adapters on its last hidden state.
Encoded encode(AdapterModel& model, const PackedBatch& batch, const ForwardContext& context,
               const EncodeRequest& request) {
  auto encoded = model.backbone().encode(batch, context, request);
  if (encoded.rows_only) {
    const auto rows = RowLayout::single(batch.layout.rows());
    encoded.last = model.output_place().forward(encoded.last, context.with(rows));
  } else {
    encoded.last = model.output_place().forward(encoded.last, context);
  }
  if (encoded.row_states.defined()) {
    const auto rows = RowLayout::single(batch.layout.rows());
    encoded.row_states = model.output_place().forward(encoded.row_states, context.with(rows));
  }
  return encoded;
}

// What these rows pass through, numbered as a batch of their own. Both in rising order.
std::vector<RowSegment> segments_of(const std::vector<RowSegment>& all, const std::vector<int64_t>& rows) {
  std::vector<RowSegment> result;
  size_t at = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    while (at < all.size() && all[at].last <= rows[i]) ++at;
    const auto index = static_cast<int64_t>(i);
    const auto setup = at < all.size() ? all[at].setup : nullptr;
    if (!result.empty() && result.back().setup == setup) {
      result.back().last = index + 1;
    } else {
      result.push_back({index, index + 1, setup});
    }
  }
  return result;
}

// How many of the chosen tokens, in rising order, each row has.
RowLayout layout_of(const RowLayout& layout, const at::Tensor& chosen) {
  std::vector<int64_t> lengths(layout.rows(), 0);
  const auto tokens = chosen.to(at::kCPU).contiguous();
  const auto* token = tokens.const_data_ptr<int64_t>();
  int64_t row = 0;
  for (int64_t i = 0; i < tokens.size(0); ++i) {
    while (layout.starts()[row + 1] <= token[i]) ++row;
    ++lengths[row];
  }
  return RowLayout(lengths);
}

// What a head that reads one token a row reads: [rows, hidden].
at::Tensor row_states(const Encoded& encoded, const Model& backbone, const PackedBatch& batch) {
  if (encoded.rows_only) return encoded.last;
  return encoded.row_states.defined() ? encoded.row_states : encoded.last.index_select(0, backbone.row_tokens(batch));
}

// One pass through the backbone for all rows; then each head reads its own.
ForwardResult answer_rows(AdapterModel& model, const PackedBatch& batch, const ForwardContext& context,
                          const ForwardRequest& request) {
  auto& backbone = model.backbone();
  std::vector<Head*> heads;
  for (const auto& name : request.heads) heads.push_back(&model.head(name));
  const bool first = std::all_of(heads.begin(), heads.end(), [](Head* head) { return head->reads_rows(); });
  ForwardResult result;
  result.encoded = encode(model, batch, context, {first && !request.last_hidden_state, request.hidden_states});
  const auto& last = result.encoded.last;
  const auto states = row_states(result.encoded, backbone, batch);
  for (size_t i = 0; i < heads.size(); ++i) {
    std::vector<at::Tensor> parts;
    for (int64_t row : request.row_heads[i]) {
      parts.push_back(heads[i]->reads_rows() ? states.narrow(0, row, 1)
                                             : last.narrow(0, batch.layout.starts()[row], batch.layout.length(row)));
    }
    if (parts.empty()) {
      result.head_logits.emplace_back();
      continue;
    }
    auto x = at::cat(parts);
    const bool first_tokens = heads[i]->reads_rows();
    std::vector<int64_t> lengths;
    for (int64_t row : request.row_heads[i]) lengths.push_back(first_tokens ? 1 : batch.layout.length(row));
    const RowLayout rows(lengths);
    if (first_tokens && heads[i]->config().use_pooler) x = backbone.pool(x, context);
    const auto segments = segments_of(request.segments, request.row_heads[i]);
    result.head_logits.push_back(heads[i]->forward(x, {&rows, &segments, context.random, context.memo}));
  }
  return result;
}

}  // namespace

ForwardResult forward(AdapterModel& model, const PackedBatch& batch, const ForwardRequest& request, Random* random) {
  check_labels(model, batch, request.head);
  auto& backbone = model.backbone();
  const PassPrefixes prefixes(backbone.prefix_place(), request.segments);
  PassMemo memo;
  const ForwardContext context{&batch.layout, &request.segments, random, &memo, &prefixes};
  if (!request.heads.empty()) return answer_rows(model, batch, context, request);
  ForwardResult result;
  if (request.head.empty()) {
    result.encoded = encode(model, batch, context, {false, request.hidden_states});
    return result;
  }

  auto& head = model.head(request.head);
  const bool first = head.reads_rows();
  result.encoded = encode(model, batch, context, {first && !request.last_hidden_state, request.hidden_states});
  auto x = result.encoded.last;
  auto labels = batch.labels;
  auto rows = first ? RowLayout::single(batch.layout.rows()) : batch.layout;
  if (first) {
    x = row_states(result.encoded, backbone, batch);
    if (head.config().use_pooler) x = backbone.pool(x, context);
  } else if (!request.logits && labels && !head.reads_whole_rows()) {
    auto labelled = at::nonzero(labels->ne(-100)).squeeze(1);
    x = x.index_select(0, labelled);
    labels = labels->index_select(0, labelled);
    rows = layout_of(rows, labelled);
  }
  result.logits = head.forward(x, context.with(rows));
  if (labels) result.loss = head_loss(head.config(), result.logits, *labels, request.label_smoothing);
  return result;
}

}  // namespace ta
