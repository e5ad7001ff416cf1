#include "core/training/loss_of_choice.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Reduction.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/nonzero.h>
#include <ATen/ops/tensor.h>

#include "core/error.h"

namespace ta {

namespace {

// scores [items], each group of them with its own softmax; targets [groups], the place in the group. The sum.
at::Tensor group_cross_entropy(const at::Tensor& scores, const RowLayout& groups, const at::Tensor& targets,
                               double label_smoothing) {
  at::Tensor sum;
  int64_t first = 0;
  for (const auto& block : groups.groups()) {
    if (block.length > 0) {
      const auto own = scores.narrow(0, block.start, block.count * block.length).reshape({block.count, block.length});
      const auto loss = at::cross_entropy_loss(own, targets.narrow(0, first, block.count), {}, at::Reduction::Sum,
                                               kNoLabel, label_smoothing);
      sum = sum.defined() ? sum + loss : loss;
    }
    first += block.count;
  }
  return sum;
}

// At least 1: where nothing has a label, the loss is 0.
at::Tensor labelled_count(const at::Tensor& targets) {
  return targets.ne(kNoLabel).sum().clamp_min(1);
}

at::Tensor span_loss(const at::Tensor& logits, const at::Tensor& labels, const RowLayout& rows, double smoothing) {
  const auto places = labels.view({-1, 2});
  at::Tensor sum;
  for (int64_t side : {0, 1}) {
    const auto loss = group_cross_entropy(logits.select(1, side), rows, places.select(1, side).contiguous(), smoothing);
    sum = sum.defined() ? sum + loss : loss;
  }
  return sum / (2 * labelled_count(places.select(1, 0)));
}

// For each word the scores of its heads: groups of n + 1 pairs in a row of n words.
RowLayout head_candidates(const Words& words) {
  std::vector<int64_t> lengths;
  for (int64_t row = 0; row < words.layout.rows(); ++row)
    lengths.insert(lengths.end(), words.layout.length(row), words.layout.length(row) + 1);
  return RowLayout(lengths);
}

at::Tensor parse_loss(const at::Tensor& pairs, const at::Tensor& labels, const RowFacts& facts, double smoothing) {
  const auto words = words_of(*facts.word_ids, facts.layout);
  const auto index = [&](const std::vector<int64_t>& values) {
    return at::tensor(values, at::TensorOptions(at::kLong)).to(labels.device());
  };
  const auto own = labels.view({-1, 2}).index_select(0, index(words.first_tokens));
  const auto heads = own.select(1, 0).contiguous(), relations = own.select(1, 1);
  const auto candidates = head_candidates(words);
  const auto arcs = group_cross_entropy(pairs.select(1, 0), candidates, heads, smoothing) / labelled_count(heads);
  const auto labelled = at::nonzero(heads.ne(kNoLabel)).squeeze(1);
  if (labelled.size(0) == 0) return arcs;
  const std::vector<int64_t> starts(candidates.starts().begin(), candidates.starts().end() - 1);
  const auto chosen = (index(starts) + heads).index_select(0, labelled);
  const auto scores = pairs.index_select(0, chosen).narrow(1, 1, pairs.size(1) - 1);
  return arcs + at::cross_entropy_loss(scores, relations.index_select(0, labelled), {}, at::Reduction::Mean, kNoLabel,
                                       smoothing);
}

void check_label_count(const at::Tensor& labels, int64_t expected, const char* each) {
  if (labels.numel() == expected) return;
  fail(ErrorCode::invalid_argument, "loss", "labels do not fit the batch",
       {.expected = text(expected, " labels, ", each), .got = text(labels.numel())});
}

void check_place(int64_t value, int64_t limit, const std::string& what) {
  if (value == kNoLabel || (value >= 0 && value < limit)) return;
  fail(ErrorCode::out_of_range, "loss", what,
       {.expected = text("0 .. ", limit - 1, ", or -100 for none"), .got = text(value)});
}

void check_both(int64_t one, int64_t other, const std::string& what) {
  if ((one == kNoLabel) == (other == kNoLabel)) return;
  fail(ErrorCode::invalid_argument, "loss", what + " has one label of two",
       {.expected = "both, or -100 for both", .got = text(one, " and ", other)});
}

}  // namespace

bool chooses(HeadType type) {
  return type == HeadType::question_answering || type == HeadType::multiple_choice ||
         type == HeadType::dependency_parsing;
}

void check_choices(const HeadConfig& config, const at::Tensor& labels, const RowFacts& facts) {
  const auto& rows = facts.layout;
  const auto host = labels.to(at::kCPU).contiguous();
  const auto* values = host.const_data_ptr<int64_t>();
  if (config.type == HeadType::question_answering) {
    check_label_count(labels, 2 * rows.rows(), "the first and the last token of each row's answer");
    for (int64_t row = 0; row < rows.rows(); ++row) {
      for (int64_t side : {0, 1})
        check_place(values[2 * row + side], rows.length(row), text("the answer of row ", row, " is no token of it"));
      check_both(values[2 * row], values[2 * row + 1], text("row ", row));
    }
  } else if (config.type == HeadType::multiple_choice) {
    if (!facts.questions)
      fail(ErrorCode::invalid_argument, "loss", "the batch does not say which rows are choices of one question");
    check_label_count(labels, facts.questions->rows(), "one for each question");
    for (int64_t question = 0; question < facts.questions->rows(); ++question)
      check_place(values[question], facts.questions->length(question),
                  text("the label of question ", question, " is no choice of it"));
  } else {
    if (!facts.word_ids) fail(ErrorCode::invalid_argument, "loss", "the batch does not say which tokens are words");
    check_label_count(labels, 2 * rows.tokens(), "a head and a relation for each token");
    const auto words = words_of(*facts.word_ids, rows);
    for (int64_t row = 0, word = 0; row < rows.rows(); ++row) {
      for (int64_t i = 0; i < words.layout.length(row); ++i, ++word) {
        const auto* label = values + 2 * words.first_tokens[word];
        const auto what = text("word ", i, " of row ", row);
        check_place(label[0], words.layout.length(row) + 1, "the head of " + what + " is no word of it");
        check_place(label[1], config.num_labels, "the relation of " + what + " is none of this head");
        check_both(label[0], label[1], what);
      }
    }
  }
}

at::Tensor choice_loss(const HeadConfig& config, const at::Tensor& logits, const at::Tensor& labels,
                       const RowFacts& facts, double label_smoothing) {
  if (config.type == HeadType::question_answering) return span_loss(logits, labels, facts.layout, label_smoothing);
  if (config.type == HeadType::dependency_parsing) return parse_loss(logits, labels, facts, label_smoothing);
  return group_cross_entropy(logits.view({-1}), *facts.questions, labels, label_smoothing) / labelled_count(labels);
}

}  // namespace ta
