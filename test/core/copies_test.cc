// Rows that come once with several copies give what the same rows give when a caller repeats them: answers, losses and
// gradients of every head, with copies together or apart, on one thread and on several.
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <c10/core/GradMode.h>

#include "check.h"
#include "core/training/evaluate.h"
#include "shard_results.h"
#include "tiny.h"

namespace {

using namespace ta;
using namespace tiny_models;
using namespace shard_results;

const HeadType kHeadsOfCopies[] = {
    HeadType::classification,     HeadType::multilabel_classification, HeadType::tagging,           HeadType::masked_lm,
    HeadType::question_answering, HeadType::multiple_choice,           HeadType::dependency_parsing};

template <class T>
void repeat(std::vector<T>& values, int copies) {
  const auto once = values;
  for (int copy = 1; copy < copies; ++copy) values.insert(values.end(), once.begin(), once.end());
}

BatchInput by_hand(BatchInput input, int copies) {
  repeat(input.ids, copies), repeat(input.row_lengths, copies);
  if (input.choices) repeat(*input.choices, copies);
  if (input.word_ids) repeat(*input.word_ids, copies);
  if (input.int_labels) repeat(*input.int_labels, copies);
  if (input.float_labels) repeat(*input.float_labels, copies);
  return input;
}

PackedBatch packed(AdapterModel& model, BatchInput input) {
  model.backbone().prepare(input);
  return PackedBatch::pack(input, at::kCPU);
}

// Two adapters, the second without a part in the first layer, and a head for each.
std::unique_ptr<AdapterModel> with_two(const ModelConfig& config, HeadType type) {
  auto model = model_of(config, type, {});
  BottleneckConfig late;
  late.bottleneck_sizes = {0, 4};
  model->add_adapter("b", {late}, 5);
  HeadConfig head;
  head.type = type;
  head.num_labels = type == HeadType::multiple_choice ? 1 : 3;
  model->add_head("b", head, 6);
  const c10::NoGradGuard guard;
  // Values far from the start: biaffine heads start as zeros, and adapters near them.
  for (const auto& named : model->named_parameters()) {
    const bool adapter = named.name.find(".adapters.") != std::string::npos;
    if (!adapter && named.name.find("biaffine") == std::string::npos) continue;
    auto& value = *named.parameter.value;
    value.copy_(at::arange(value.numel()).sin().view(value.sizes()) * (adapter ? 0.3 : 1.0));
  }
  model->set_trainable({{"a", "b"}, {"a", "b"}, {}});
  return model;
}

BatchInput long_rows() {
  BatchInput input;
  input.row_lengths = {1, 60, 60, 100};
  input.choices = std::vector<int32_t>{2, 1, 1};
  input.word_ids.emplace();
  for (int i = 0; i < 221; ++i) input.ids.push_back(3 + i % 40);
  for (int length : input.row_lengths)
    for (int i = 0; i < length; ++i) input.word_ids->push_back(i - 1);
  return input;
}

}  // namespace

TEST(a_repeated_batch_is_the_batch_of_repeated_rows) {
  for (auto type : kHeadsOfCopies) {
    auto model = tiny_model(type);
    const auto repeated = packed(*model, input_for(type)).repeated(3);
    const auto expected = packed(*model, by_hand(input_for(type), 3));
    CHECK(repeated.layout.starts() == expected.layout.starts());
    CHECK(at::equal(repeated.ids, expected.ids));
    CHECK(at::equal(*repeated.token_types, *expected.token_types));
    CHECK(at::equal(*repeated.positions, *expected.positions));
    CHECK(at::equal(repeated.first_tokens, expected.first_tokens));
    CHECK(at::equal(repeated.last_tokens, expected.last_tokens));
    CHECK(at::equal(*repeated.labels, *expected.labels));
    CHECK(repeated.word_ids == expected.word_ids);
    CHECK_EQ(repeated.questions.has_value(), expected.questions.has_value());
    if (expected.questions) CHECK(repeated.questions->starts() == expected.questions->starts());
  }
  BatchInput images;
  images.pixels = at::arange(6, at::kFloat).view({2, 3});
  images.row_lengths = {5, 5};
  const auto repeated = PackedBatch::pack(images, at::kCPU).repeated(2);
  CHECK_EQ(repeated.layout.rows(), 4);
  CHECK(at::equal(repeated.pixels.narrow(0, 2, 2), images.pixels));
  CHECK(!repeated.ids.defined());
}

TEST(gradients_of_copies_are_those_of_rows_repeated_by_hand) {
  for (auto type : kHeadsOfCopies) {
    auto model = with_two(tiny(0), type);
    auto once = packed(*model, input_for(type)), all = packed(*model, by_hand(input_for(type), 2));
    ForwardRequest one_head;
    one_head.head = "a";
    one_head.segments = {{0, 4, only(*model, "a")}, {4, 8, only(*model, "b")}};
    auto two_heads = one_head;
    two_heads.head.clear();
    two_heads.heads = {"a", "b"};
    two_heads.row_heads = {{0, 1, 2, 3}, {4, 5, 6, 7}};
    two_heads.head_labels = {*once.labels, *once.labels};
    for (auto request : {one_head, two_heads}) {
      // Labels come with the batch for one head, with the request for several.
      if (request.head.empty()) once.labels.reset(), all.labels.reset();
      const auto expected = gradients(*model, {all, request}, 1);
      CHECK(expected.grads[0].abs().max().item<double>() > 0);
      request.copies = 2;
      // As many rows as threads, or fewer: then copies are rows of their own.
      for (int count : {2, 8}) {
        const Threads threads(count);
        for (int shards : {1, 2, 3, 9}) check_same(gradients(*model, {once, request}, shards), expected);
      }
    }
  }
}

TEST(answers_of_copies_on_several_threads_come_copy_by_copy) {
  auto config = tiny(0);
  config.hidden_size = 64;
  config.intermediate_size = 128;
  config.max_position_embeddings = 128;
  for (auto type : kHeadsOfCopies) {
    auto model = with_two(config, type);
    const auto once = packed(*model, long_rows()), all = packed(*model, by_hand(long_rows(), 2));
    ForwardRequest request;
    request.segments = {{0, 3, only(*model, "b")}, {3, 4, {}}, {4, 8, only(*model, "a")}};
    request.heads = {"a", "b"};
    // All rows of a question have one head.
    request.row_heads = {{0, 1, 3, 4, 5}, {2, 6, 7}};
    request.hidden_states = true;
    const auto answer = [&](const PackedBatch& batch, int64_t copies, int count) {
      const Threads threads(count);
      auto own = request;
      own.copies = copies;
      return evaluate(*model, batch, own);
    };
    const auto expected = answer(all, 1, 1);
    for (int count : {1, 3, 8}) {
      const auto got = answer(once, 2, count);
      CHECK_EQ(got.head_logits.size(), size_t{2});
      for (size_t i = 0; i < 2; ++i) {
        CHECK(got.head_logits[i].sizes() == expected.head_logits[i].sizes());
        CHECK(difference(got.head_logits[i], expected.head_logits[i]) < 1e-5);
      }
      CHECK(difference(got.encoded.last, expected.encoded.last) < 1e-5);
      CHECK_EQ(got.encoded.hidden_states.size(), expected.encoded.hidden_states.size());
      for (size_t i = 0; i < expected.encoded.hidden_states.size(); ++i)
        CHECK(difference(got.encoded.hidden_states[i], expected.encoded.hidden_states[i]) < 1e-5);
    }
  }
}

TEST(labels_of_copies_are_checked_against_the_rows_of_all) {
  auto model = with_two(tiny(0), HeadType::multiple_choice);
  const auto once = packed(*model, input_for(HeadType::multiple_choice));
  ForwardRequest request;
  request.copies = 2;
  request.segments = {{0, 4, only(*model, "a")}, {4, 8, only(*model, "b")}};
  request.heads = {"a", "b"};
  request.row_heads = {{0, 1, 2, 3}, {4, 5, 6, 7}};
  request.head_labels = {*once.labels, once.labels->narrow(0, 0, 2)};
  CHECK_THROWS(ErrorCode::invalid_argument, forward(*model, once, request, nullptr));
  request.head_labels[1] = *once.labels;
  CHECK_EQ(forward(*model, once, request, nullptr).head_logits[1].size(0), 4);
}
