#include "core/nn/packed_batch.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <numeric>
#include <string>

#include "core/error.h"

namespace ta {

RowLayout::RowLayout(const std::vector<int64_t>& lengths) {
  starts_.reserve(lengths.size() + 1);
  for (int64_t length : lengths) {
    if (!groups_.empty() && groups_.back().length == length) {
      ++groups_.back().count;
    } else {
      groups_.push_back({starts_.back(), 1, length});
    }
    starts_.push_back(starts_.back() + length);
  }
}

int64_t RowLayout::longest() const {
  int64_t most = 0;
  for (const auto& group : groups_) most = std::max(most, group.length);
  return most;
}

const at::Tensor& RowLayout::starts_on(at::Device device) const {
  if (!device_starts_.defined() || device_starts_.device() != device)
    device_starts_ = at::tensor(starts_, at::TensorOptions(at::kInt)).to(device);
  return device_starts_;
}

std::vector<int64_t> RowLayout::lengths() const {
  std::vector<int64_t> result;
  result.reserve(starts_.size() - 1);
  for (int64_t row = 0; row < rows(); ++row) result.push_back(length(row));
  return result;
}

RowLayout RowLayout::rows(int64_t first, int64_t last) const {
  std::vector<int64_t> part;
  part.reserve(last - first);
  for (int64_t row = first; row < last; ++row) part.push_back(length(row));
  return RowLayout(part);
}

RowLayout RowLayout::repeated(int64_t copies) const {
  std::vector<int64_t> all;
  all.reserve(copies * rows());
  for (int64_t copy = 0; copy < copies; ++copy)
    for (int64_t row = 0; row < rows(); ++row) all.push_back(length(row));
  return RowLayout(all);
}

std::vector<int64_t> RowLayout::tokens_of(const std::vector<int64_t>& rows) const {
  std::vector<int64_t> tokens;
  tokens.reserve(starts_.back());
  for (int64_t row : rows)
    for (int64_t token = starts_[row]; token < starts_[row + 1]; ++token) tokens.push_back(token);
  return tokens;
}

int64_t RowLayout::share_end(int64_t i, int64_t count, int64_t first) const {
  if (i == count) return rows();
  const int64_t target = tokens() * i / count;
  int64_t last = std::lower_bound(starts_.begin(), starts_.end(), target) - starts_.begin();
  if (last > first + 1 && starts_[last] - target > target - starts_[last - 1]) --last;
  return std::clamp(last, first + 1, rows());
}

RowLayout RowLayout::single(int64_t rows) {
  return RowLayout(std::vector<int64_t>(rows, 1));
}

namespace {

template <class From, class To>
at::Tensor to_tensor(const std::vector<From>& values, at::ScalarType type, at::Device device) {
  auto tensor = at::empty({static_cast<int64_t>(values.size())}, at::TensorOptions(type));
  std::copy(values.begin(), values.end(), tensor.mutable_data_ptr<To>());
  return device.is_cpu() ? tensor : tensor.to(device);
}

at::Tensor to_ids(const std::vector<int32_t>& values, at::Device device) {
  return to_tensor<int32_t, int64_t>(values, at::kLong, device);
}

void check_same_length(const std::optional<std::vector<int32_t>>& values, size_t tokens, const char* what) {
  if (values && values->size() != tokens) {
    fail(ErrorCode::invalid_argument, "batch",
         "expected " + std::to_string(tokens) + " " + what + ", one a token, got " + std::to_string(values->size()));
  }
}

void check_sources(const BatchInput& input) {
  const auto& lengths = input.source_lengths;
  if (lengths.empty() && input.source_ids.empty()) return;
  const bool empty = std::any_of(lengths.begin(), lengths.end(), [](int32_t length) { return length < 1; });
  const auto sum = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
  if (!empty && lengths.size() == input.row_lengths.size() && sum == static_cast<int64_t>(input.source_ids.size()))
    return;
  fail(ErrorCode::invalid_argument, "batch", "the encoder's rows are not those of the decoder",
       {.expected = std::to_string(input.row_lengths.size()) + " rows of at least one token",
        .got = std::to_string(lengths.size()) + " lengths for " + std::to_string(input.source_ids.size()) + " ids"});
}

RowLayout questions_of(const std::vector<int32_t>& choices, size_t rows) {
  const std::vector<int64_t> counts(choices.begin(), choices.end());
  const bool empty = std::any_of(counts.begin(), counts.end(), [](int64_t count) { return count < 1; });
  const auto sum = std::accumulate(counts.begin(), counts.end(), int64_t{0});
  if (empty || static_cast<size_t>(sum) != rows) {
    fail(ErrorCode::invalid_argument, "batch", "the choices of its questions are not its rows",
         {.expected = std::to_string(rows) + " choices, one at least for each question",
          .got = empty ? "a question without choices" : std::to_string(sum)});
  }
  return RowLayout(counts);
}

}  // namespace

PackedBatch PackedBatch::pack(const BatchInput& input, at::Device device) {
  if (input.row_lengths.empty()) {
    fail(ErrorCode::invalid_argument, "batch", "expected at least one row, got an empty batch");
  }
  std::vector<int64_t> lengths(input.row_lengths.begin(), input.row_lengths.end());
  for (size_t row = 0; row < lengths.size(); ++row) {
    if (lengths[row] < 1) {
      fail(ErrorCode::invalid_argument, "batch",
           "expected at least one token in each row, row " + std::to_string(row) + " has " +
               std::to_string(lengths[row]));
    }
  }
  const auto tokens = static_cast<size_t>(std::accumulate(lengths.begin(), lengths.end(), int64_t{0}));
  const bool images = input.pixels.defined();
  if (images && input.pixels.size(0) != static_cast<int64_t>(lengths.size())) {
    fail(ErrorCode::invalid_argument, "batch",
         "expected an image for each of " + std::to_string(lengths.size()) + " rows, got " +
             std::to_string(input.pixels.size(0)));
  }
  if (!images && tokens != input.ids.size()) {
    fail(ErrorCode::invalid_argument, "batch",
         "row lengths add up to " + std::to_string(tokens) + " tokens, but " + std::to_string(input.ids.size()) +
             " ids came");
  }
  check_same_length(input.token_types, tokens, "token types");
  check_same_length(input.positions, tokens, "positions");
  check_sources(input);

  PackedBatch batch;
  batch.layout = RowLayout(lengths);
  if (images) {
    batch.pixels = input.pixels.to(device);
    batch.value_lengths.assign(input.value_lengths.begin(), input.value_lengths.end());
  } else {
    batch.ids = to_ids(input.ids, device);
  }
  if (!input.source_ids.empty()) {
    batch.source_ids = to_ids(input.source_ids, device);
    batch.source_layout = RowLayout({input.source_lengths.begin(), input.source_lengths.end()});
  }
  if (input.token_types) batch.token_types = to_ids(*input.token_types, device);
  if (input.positions) batch.positions = to_ids(*input.positions, device);
  const auto& starts = batch.layout.starts();
  batch.first_tokens = to_tensor<int64_t, int64_t>({starts.begin(), starts.end() - 1}, at::kLong, device);
  batch.last_tokens = to_tensor<int64_t, int64_t>({starts.begin() + 1, starts.end()}, at::kLong, device) - 1;
  if (input.choices) batch.questions = questions_of(*input.choices, input.row_lengths.size());
  check_same_length(input.word_ids, tokens, "word ids");
  if (input.word_ids) batch.word_ids.emplace(input.word_ids->begin(), input.word_ids->end());
  if (input.int_labels) batch.labels = to_ids(*input.int_labels, device);
  if (input.float_labels) batch.labels = to_tensor<float, float>(*input.float_labels, at::kFloat, device);
  return batch;
}

PackedBatch PackedBatch::rows(int64_t first, int64_t last, LabelsOf labels_of) const {
  const int64_t begin = layout.starts()[first], tokens = layout.starts()[last] - begin;
  std::vector<int64_t> lengths;
  for (int64_t row = first; row < last; ++row) lengths.push_back(layout.length(row));
  PackedBatch part;
  part.layout = RowLayout(lengths);
  if (ids.defined()) part.ids = ids.narrow(0, begin, tokens);
  if (pixels.defined()) part.pixels = pixels.narrow(0, first, last - first);
  if (!value_lengths.empty()) part.value_lengths = {value_lengths.begin() + first, value_lengths.begin() + last};
  if (source_ids.defined()) {
    const int64_t source = source_layout.starts()[first];
    part.source_ids = source_ids.narrow(0, source, source_layout.starts()[last] - source);
    part.source_layout = source_layout.rows(first, last);
  }
  if (token_types) part.token_types = token_types->narrow(0, begin, tokens);
  if (positions) part.positions = positions->narrow(0, begin, tokens);
  if (states.defined()) part.states = states.narrow(0, begin, tokens);
  part.first_layer = first_layer;
  part.first_tokens = first_tokens.narrow(0, first, last - first) - begin;
  part.last_tokens = last_tokens.narrow(0, first, last - first) - begin;
  if (word_ids) part.word_ids.emplace(word_ids->begin() + begin, word_ids->begin() + begin + tokens);
  int64_t first_question = 0, last_question = 0;
  if (questions) {
    const auto& starts = questions->starts();
    const auto question = [&](int64_t row) {
      return std::lower_bound(starts.begin(), starts.end(), row) - starts.begin();
    };
    first_question = question(first), last_question = question(last);
    part.questions = questions->rows(first_question, last_question);
  }
  if (!labels) return part;
  const auto share = [&](int64_t from, int64_t count, int64_t all) {
    const int64_t each = labels->numel() / all;
    return labels->narrow(0, from * each, count * each);
  };
  if (labels_of == LabelsOf::tokens) {
    part.labels = share(begin, tokens, layout.tokens());
  } else if (labels_of == LabelsOf::questions && questions) {
    part.labels = share(first_question, last_question - first_question, questions->rows());
  } else {
    part.labels = share(first, last - first, layout.rows());
  }
  return part;
}

PackedBatch PackedBatch::repeated(int64_t copies) const {
  const auto repeat = [&](const at::Tensor& values) { return values.repeat({copies}); };
  const auto moved = at::arange(copies, first_tokens.options()).repeat_interleave(layout.rows()) * layout.tokens();
  auto all_facts = facts().repeated(copies);
  PackedBatch all;
  all.layout = std::move(all_facts.layout);
  if (ids.defined()) all.ids = repeat(ids);
  if (pixels.defined()) all.pixels = at::cat(std::vector<at::Tensor>(copies, pixels));
  for (int64_t copy = 0; copy < copies; ++copy)
    all.value_lengths.insert(all.value_lengths.end(), value_lengths.begin(), value_lengths.end());
  if (source_ids.defined()) {
    all.source_ids = repeat(source_ids);
    all.source_layout = source_layout.repeated(copies);
  }
  if (states.defined()) all.states = states.repeat({copies, 1});
  all.first_layer = first_layer;
  if (token_types) all.token_types = repeat(*token_types);
  if (positions) all.positions = repeat(*positions);
  all.first_tokens = repeat(first_tokens) + moved;
  all.last_tokens = repeat(last_tokens) + moved;
  all.questions = std::move(all_facts.questions);
  all.word_ids = std::move(all_facts.word_ids);
  if (labels) all.labels = repeat(*labels);
  return all;
}

PackedBatch PackedBatch::in_order(const std::vector<int64_t>& rows) const {
  const auto device = first_tokens.device();
  const auto chosen_rows = to_tensor<int64_t, int64_t>(rows, at::kLong, device);
  const auto chosen_tokens = to_tensor<int64_t, int64_t>(layout.tokens_of(rows), at::kLong, device);
  const auto lengths_in = [&](const RowLayout& all) {
    std::vector<int64_t> lengths;
    for (int64_t row : rows) lengths.push_back(all.length(row));
    return RowLayout(lengths);
  };
  const auto of_tokens = [&](const at::Tensor& values) {
    return values.defined() ? values.index_select(0, chosen_tokens) : values;
  };
  PackedBatch some;
  some.layout = lengths_in(layout);
  some.ids = of_tokens(ids);
  some.words = of_tokens(words);
  some.states = of_tokens(states);
  some.first_layer = first_layer;
  if (token_types) some.token_types = of_tokens(*token_types);
  if (positions) some.positions = of_tokens(*positions);
  if (pixels.defined()) some.pixels = pixels.index_select(0, chosen_rows);
  for (int64_t row : rows)
    if (!value_lengths.empty()) some.value_lengths.push_back(value_lengths[row]);
  if (source_ids.defined()) {
    const auto tokens = to_tensor<int64_t, int64_t>(source_layout.tokens_of(rows), at::kLong, device);
    some.source_ids = source_ids.index_select(0, tokens);
    some.source_layout = lengths_in(source_layout);
  }
  const auto& starts = some.layout.starts();
  some.first_tokens = to_tensor<int64_t, int64_t>({starts.begin(), starts.end() - 1}, at::kLong, device);
  some.last_tokens = to_tensor<int64_t, int64_t>({starts.begin() + 1, starts.end()}, at::kLong, device) - 1;
  return some;
}

RowFacts RowFacts::some(const std::vector<int64_t>& rows) const {
  RowFacts some;
  std::vector<int64_t> lengths, choices;
  for (int64_t row : rows) lengths.push_back(layout.length(row));
  some.layout = RowLayout(lengths);
  if (word_ids) {
    auto& own = some.word_ids.emplace();
    for (int64_t row : rows)
      own.insert(own.end(), word_ids->begin() + layout.starts()[row], word_ids->begin() + layout.starts()[row + 1]);
  }
  if (!questions) return some;
  const auto& starts = questions->starts();
  for (size_t i = 0; i < rows.size();) {
    const auto next = *std::upper_bound(starts.begin(), starts.end(), rows[i]);
    const auto first = i;
    while (i < rows.size() && rows[i] < next) ++i;
    choices.push_back(static_cast<int64_t>(i - first));
  }
  some.questions = RowLayout(choices);
  return some;
}

RowFacts RowFacts::repeated(int64_t copies) const {
  RowFacts all;
  all.layout = layout.repeated(copies);
  if (questions) all.questions = questions->repeated(copies);
  if (word_ids) {
    // Words are counted in each row: a copy has the same numbers.
    auto& own = all.word_ids.emplace();
    for (int64_t copy = 0; copy < copies; ++copy) own.insert(own.end(), word_ids->begin(), word_ids->end());
  }
  return all;
}

}  // namespace ta
