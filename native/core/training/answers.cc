#include "core/training/answers.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/nonzero.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <optional>

#include "core/error.h"
#include "core/training/loss.h"

namespace ta {

namespace {

using Rows = std::vector<int64_t>;

// What one head reads.
struct Reading {
  at::Tensor x;      // [its rows or their tokens, hidden]
  RowLayout layout;  // of x
  std::vector<RowSegment> segments;
};

struct Answer {
  at::Tensor logits, loss;
};

// What these rows pass through, numbered as a batch of their own. Both in rising order.
std::vector<RowSegment> segments_of(const std::vector<RowSegment>& all, const Rows& rows) {
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
  Rows lengths(layout.rows(), 0);
  const auto tokens = chosen.to(at::kCPU).contiguous();
  const auto* token = tokens.const_data_ptr<int64_t>();
  int64_t row = 0;
  for (int64_t i = 0; i < tokens.size(0); ++i) {
    while (layout.starts()[row + 1] <= token[i]) ++row;
    ++lengths[row];
  }
  return RowLayout(lengths);
}

// Each row's one token: [rows, hidden].
at::Tensor row_states(const Encoded& encoded, const Model& backbone, const PackedBatch& batch) {
  if (encoded.rows_only) return encoded.last;
  return encoded.row_states.defined() ? encoded.row_states : encoded.last.index_select(0, backbone.row_tokens(batch));
}

// These rows of x, laid out by `layout`. Neighbours are a view: its gradient is one copy, not one for each row.
at::Tensor take_rows(const at::Tensor& x, const RowLayout& layout, const Rows& rows) {
  const auto& starts = layout.starts();
  if (rows.back() - rows.front() + 1 == static_cast<int64_t>(rows.size())) {
    return x.narrow(0, starts[rows.front()], starts[rows.back() + 1] - starts[rows.front()]);
  }
  Rows chosen;
  for (int64_t row : rows)
    for (int64_t i = starts[row]; i < starts[row + 1]; ++i) chosen.push_back(i);
  return x.index_select(0, at::tensor(chosen, at::TensorOptions(at::kLong)).to(x.device()));
}

// What heads read of all rows, once for heads of one kind: each row's one token, or every token.
class Readings {
 public:
  Readings(const Model& backbone, const PackedBatch& batch, const ForwardRequest& request, const Encoded& encoded)
      : backbone_(backbone), batch_(batch), request_(request), encoded_(encoded) {}

  const Reading& of(const Head& head) {
    auto& found = head.reads_rows() ? rows_ : tokens_;
    if (found) return *found;
    if (!head.reads_rows() && encoded_.rows_only) {
      fail(ErrorCode::unsupported, "forward", "the head reads every token, but the network gives one value a row",
           {.expected = "a head that answers for rows"});
    }
    if (!head.reads_rows()) return found.emplace(Reading{encoded_.last, batch_.layout, request_.segments});
    const auto rows = RowLayout::single(batch_.layout.rows());
    return found.emplace(Reading{row_states(encoded_, backbone_, batch_), rows, request_.segments});
  }

 private:
  const Model& backbone_;
  const PackedBatch& batch_;
  const ForwardRequest& request_;
  const Encoded& encoded_;
  std::optional<Reading> rows_, tokens_;
};

Reading some_of(const Reading& all, const Rows& rows) {
  Rows lengths;
  for (int64_t row : rows) lengths.push_back(all.layout.length(row));
  return {take_rows(all.x, all.layout, rows), RowLayout(lengths), segments_of(all.segments, rows)};
}

const std::vector<int64_t>& word_ids_of(const RowFacts& facts) {
  if (facts.word_ids) return *facts.word_ids;
  fail(ErrorCode::invalid_argument, "forward", "the batch does not say which tokens are words",
       {.hint = "Give the rows as words, or wordIds with their ids"});
}

// A vocabulary's logits are as large as all else in a pass; of those that are only counted the best is kept.
at::Tensor best_of(const at::Tensor& logits, const at::Tensor& labels) {
  return logits.argmax(-1).masked_select(labels.view({-1}).ne(-100));
}

// labels undefined: no loss.
Answer read(Head& head, Model& backbone, Reading reading, at::Tensor labels, const RowFacts& facts,
            const ForwardContext& context, const ForwardRequest& request, const std::string& name, double smoothing) {
  if (request.answers != Answers::all && !labels.defined()) return {};
  if (head.reads_rows()) {
    if (head.config().use_pooler) reading.x = backbone.pool(reading.x, context);
  } else if (request.answers != Answers::all && !head.reads_words() && head.labels_of() == LabelsOf::tokens &&
             !head.reads_whole_rows()) {
    auto labelled = at::nonzero(labels.ne(-100)).squeeze(1);
    reading.x = reading.x.index_select(0, labelled);
    labels = labels.index_select(0, labelled);
    reading.layout = layout_of(reading.layout, labelled);
  }
  auto own = context.with(reading.layout);
  own.segments = &reading.segments;
  Answer answer{head.reads_words() ? head.parse(reading.x, words_of(word_ids_of(facts), reading.layout), own)
                                   : head.forward(reading.x, own),
                {}};
  if (labels.defined())
    answer.loss = head_loss(head.config(), answer.logits, labels, facts, smoothing, request.weights_of(name));
  if (request.answers == Answers::best) answer.logits = best_of(answer.logits, labels);
  return answer;
}

void check_one(AdapterModel& model, const std::string& name, const at::Tensor& labels, const RowFacts& rows) {
  check_labels(model.head(name), labels, rows, model.backbone().config().vocab_size);
}

}  // namespace

void check_labels(AdapterModel& model, const PackedBatch& batch, const ForwardRequest& request) {
  if (!request.head.empty() && batch.labels) {
    check_one(model, request.head, *batch.labels, batch.facts());
  }
  if (request.head_labels.empty()) return;
  if (request.head_labels.size() != request.heads.size()) {
    fail(
        ErrorCode::invalid_argument, "loss", "labels do not fit the heads",
        {.expected = text(request.heads.size(), " lists, one for each head"), .got = text(request.head_labels.size())});
  }
  const auto all = batch.facts().repeated(request.copies);
  for (size_t i = 0; i < request.heads.size(); ++i) {
    if (!request.head_labels[i].defined()) continue;
    check_one(model, request.heads[i], request.head_labels[i], all.some(request.row_heads[i]));
  }
}

int64_t counted(const at::Tensor& labels) {
  return labels.scalar_type() == at::kLong ? labels.ne(-100).sum().item<int64_t>() : labels.numel();
}

double weight_of(const at::Tensor& labels, const at::Tensor& class_weights) {
  if (!class_weights.defined() || labels.scalar_type() != at::kLong) return static_cast<double>(counted(labels));
  const auto classes = labels.masked_select(labels.ne(-100));
  return class_weights.index_select(0, classes).sum(at::kDouble).item<double>();
}

bool reads_rows(AdapterModel& model, const ForwardRequest& request) {
  if (request.heads.empty()) return !request.head.empty() && model.head(request.head).reads_rows();
  return std::all_of(request.heads.begin(), request.heads.end(),
                     [&](const std::string& name) { return model.head(name).reads_rows(); });
}

int64_t answer_count(const Head& head, const RowFacts& rows) {
  if (head.reads_rows()) return rows.layout.rows();
  if (!head.reads_words()) return rows.layout.tokens();
  int64_t pairs = 0;
  for (int64_t words : words_of(word_ids_of(rows), rows.layout).layout.lengths()) pairs += words * (words + 1);
  return pairs;
}

at::Tensor labels_of(const Head& head, const at::Tensor& labels, const RowFacts& all, const Rows& rows, size_t from,
                     size_t to) {
  // Of rows up to one: what labels are counted by.
  const auto units = [&](size_t end) {
    if (head.labels_of() == LabelsOf::rows) return static_cast<int64_t>(end);
    const auto some = all.some({rows.begin(), rows.begin() + static_cast<int64_t>(end)});
    if (head.labels_of() == LabelsOf::questions && some.questions) return some.questions->rows();
    return some.layout.tokens();
  };
  const int64_t each = labels.numel() / units(rows.size()), before = units(from);
  return labels.narrow(0, before * each, (units(to) - before) * each);
}

void answer(AdapterModel& model, const PackedBatch& batch, const ForwardRequest& request, const ForwardContext& context,
            ForwardResult& result) {
  auto& backbone = model.backbone();
  Readings readings(backbone, batch, request, result.encoded);
  if (request.heads.empty()) {
    auto& head = model.head(request.head);
    auto [logits, loss] = read(head, backbone, readings.of(head), batch.labels.value_or(at::Tensor()), batch.facts(),
                               context, request, request.head, request.label_smoothing);
    result.logits = logits;
    result.loss = loss;
    return;
  }
  const auto facts = batch.facts();
  for (size_t i = 0; i < request.heads.size(); ++i) {
    auto& head = model.head(request.heads[i]);
    const auto& rows = request.row_heads[i];
    const double share = request.head_shares.empty() ? 1 : request.head_shares[i];
    auto labels = request.head_labels.empty() || share == 0 ? at::Tensor() : request.head_labels[i];
    // Rows without any label that counts have no mean; the other heads still learn.
    if (labels.defined() && counted(labels) == 0) labels = at::Tensor();
    Answer own;
    if (!rows.empty()) {
      const double smoothing = request.head_smoothing.empty() ? request.label_smoothing : request.head_smoothing[i];
      own = read(head, backbone, some_of(readings.of(head), rows), labels, facts.some(rows), context, request,
                 request.heads[i], smoothing);
    }
    result.head_logits.push_back(own.logits);
    if (request.head_labels.empty()) continue;
    result.head_losses.push_back(own.loss);
    if (!own.loss.defined()) continue;
    const double weight = share * (request.head_weights.empty() ? 1 : request.head_weights[i]);
    const auto part = weight == 1 ? own.loss : own.loss * weight;
    result.loss = result.loss.defined() ? result.loss + part : part;
  }
}

}  // namespace ta
