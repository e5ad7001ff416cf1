// Rows shared among threads: the same loss, gradients and answers as one thread's, whatever the head, the way to train,
// the number of shards and the rows' own adapters; and the same bits each time.
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/tensor.h>

#include "check.h"
#include "core/models/gpt2.h"
#include "core/training/answers.h"
#include "core/training/evaluate.h"
#include "core/training/loss.h"
#include "shard_results.h"
#include "tiny.h"

namespace {

using namespace ta;
using namespace tiny_models;
using namespace shard_results;

// Forms whose parameters autograd's own operators take, beside the one that is a single node.
std::vector<BottleneckConfig> forms() {
  std::vector<BottleneckConfig> result(4);
  result[1].scaling = Scaling::channel;
  result[1].ln_before = result[1].ln_after = true;
  result[2].use_gating = true;
  result[2].is_parallel = true;
  result[3].non_linearity = "prelu";
  return result;
}

const HeadType kHeads[] = {HeadType::classification, HeadType::multilabel_classification, HeadType::tagging,
                           HeadType::masked_lm};
// Rows that stay together, labels of two, and as many answers as a row has words.
const HeadType kChoices[] = {HeadType::question_answering, HeadType::multiple_choice, HeadType::dependency_parsing};

}  // namespace

TEST(shards_give_the_gradients_of_the_whole_batch) {
  const Threads threads(3);
  for (auto type : kHeads) {
    for (const auto& form : forms()) {
      for (auto way : {Way::adapter, Way::head, Way::full}) {
        auto model = model_of(tiny(0), type, form);
        train(*model, way);
        auto batch = std::move(batch_for(*model, type)[0]);
        if (way == Way::adapter) batch.request.segments = {{0, 1, {}}, {1, 4, only(*model, "a")}};
        check_shards(*model, batch, {2, 3, 4, 9});
      }
    }
  }
}

TEST(shards_of_lora_in_a_merged_product) {
  const Threads threads(3);
  for (bool merged : {false, true}) {
    auto config = tiny(0);
    config.model_type = "gpt2";
    config.type_vocab_size = 0;
    auto backbone = std::make_shared<Gpt2Model>(config);
    Random random(1);
    initialise_missing(*backbone, backbone->prefix(), 0.1, random, at::kCPU);
    AdapterModel model(backbone, at::kCPU);
    LoraConfig lora;
    lora.merged = merged;
    lora.query = lora.value = !merged;
    lora.rank = 2;
    model.add_adapter("a", {lora}, 2);
    HeadConfig head;
    head.num_labels = 3;
    model.add_head("a", head, 3);
    // B starts as zeros, past which nothing reaches A. Large ones make more of what products of few rows round
    // otherwise.
    for (const auto& named : model.adapter_state("a")) {
      auto& value = *named.parameter.value;
      value.copy_(at::arange(value.numel()).sin().view(value.sizes()) * 0.1);
    }
    train(model, Way::adapter);
    const auto batch = std::move(batch_for(model, HeadType::classification)[0]);
    check_shards(model, batch, {2, 3, 9});
  }
}

TEST(shards_of_heads_that_choose) {
  const Threads threads(3);
  for (auto type : kChoices) {
    auto model = model_of(tiny(0), type, {});
    // Biaffine heads start as zeros, from which nothing reaches the adapter.
    for (const auto& named : model->named_parameters()) {
      if (named.name.rfind("heads.", 0) != 0) continue;
      auto& value = *named.parameter.value;
      value.copy_(at::arange(value.numel()).sin().view(value.sizes()));
    }
    train(*model, Way::adapter);
    const auto batch = std::move(batch_for(*model, type)[0]);
    check_shards(*model, batch, {2, 3, 9});
  }
}

TEST(shards_weigh_what_the_classes_of_their_labels_weigh) {
  const Threads threads(3);
  const ClassWeights weights{{"a", at::tensor({0.25f, 4.0f, 1.5f})}};
  for (auto type : {HeadType::classification, HeadType::tagging, HeadType::multilabel_classification}) {
    auto model = tiny_model(type, 0);
    train(*model, Way::adapter);
    for (const bool several : {false, true}) {
      auto batch = std::move(batch_for(*model, type)[0]);
      batch.request.label_smoothing = 0.1;
      if (several) {
        batch.request.head.clear();
        batch.request.heads = {"a"};
        batch.request.row_heads = {{0, 1, 2, 3}};
        batch.request.head_labels = {*batch.batch.labels};
        batch.batch.labels.reset();
        batch.request.head_smoothing = {0.1};
      }
      const auto alike = gradients(*model, batch, 1);
      batch.request.class_weights = std::make_shared<ClassWeights>(weights);
      const auto whole = gradients(*model, batch, 1);
      CHECK(std::abs(whole.loss - alike.loss) > 1e-4);
      for (int count : {2, 3, 9}) check_same(gradients(*model, batch, count), whole);
    }
  }
}

// ta::head_loss as torch.nn.CrossEntropyLoss's documentation has it: Σ w_y l / Σ w_y, smoothing Σ_c w_c log p_c / K.
TEST(class_weights_count_in_the_sum_and_in_what_it_is_divided_by) {
  const auto logits = at::tensor({0.5f, -1.0f, 2.0f, 0.0f, 0.3f, 0.7f, -0.2f, 1.1f, 0.4f, 3.0f}).view({5, 2});
  const auto labels = at::tensor(std::vector<int64_t>{1, -100, 0, 1, 1});
  const std::vector<double> weights{0.2, 3};
  const double smoothing = 0.15;
  HeadConfig config;
  config.type = HeadType::tagging;
  double sum = 0, weight = 0;
  for (int64_t i = 0; i < 5; ++i) {
    const int64_t label = labels[i].item<int64_t>();
    if (label == -100) continue;
    const auto log_p = logits[i].to(at::kDouble).log_softmax(0);
    weight += weights[label];
    sum -= (1 - smoothing) * weights[label] * log_p[label].item<double>();
    for (int64_t c : {0, 1}) sum -= smoothing / 2 * weights[c] * log_p[c].item<double>();
  }
  const RowLayout rows({5});
  const auto loss = head_loss(config, logits, labels, {rows}, smoothing, at::tensor({0.2f, 3.0f}));
  CHECK_NEAR(loss.item<double>(), sum / weight, 1e-6);
  CHECK_NEAR(weight_of(labels, at::tensor({0.2f, 3.0f})), weight, 1e-6);
  CHECK_NEAR(weight_of(labels, {}), 4, 0);
}

TEST(a_shard_whose_rows_use_nothing_that_trains_counts_in_the_loss) {
  const Threads threads(2);
  auto model = tiny_model(HeadType::classification, 0);
  model->set_trainable({{"a"}, {}, {}});
  auto batch = std::move(batch_for(*model, HeadType::classification)[0]);
  for (bool first : {true, false}) {
    batch.request.segments = {{0, 3, {}}, {3, 4, {}}};
    batch.request.segments[first ? 0 : 1].setup = only(*model, "a");
    check_shards(*model, batch, {2});
  }
  batch.request.segments = {{0, 4, {}}};
  CHECK_THROWS(ErrorCode::invalid_argument, gradients(*model, batch, 2));
}

TEST(shards_with_dropout_give_the_same_bits_twice) {
  const Threads threads(3);
  auto model = tiny_model(HeadType::classification, 0.3);
  train(*model, Way::adapter);
  const auto batch = std::move(batch_for(*model, HeadType::classification)[0]);
  Random one(5), two(5), other(6);
  const auto a = gradients(*model, batch, 3, &one), b = gradients(*model, batch, 3, &two),
             c = gradients(*model, batch, 3, &other);
  for (size_t i = 0; i < a.grads.size(); ++i) CHECK(at::equal(a.grads[i], b.grads[i]));
  CHECK(!at::equal(a.grads[0], c.grads[0]));
}

TEST(a_batch_is_split_between_rows_by_tokens) {
  auto model = tiny_model(HeadType::masked_lm);
  const auto batch = std::move(batch_for(*model, HeadType::masked_lm)[0]);  // rows of 1, 4, 4 and 12 tokens
  auto tokens = [&](int count) {
    std::vector<int64_t> result;
    for (const auto& shard : split(*model, batch.batch, batch.request, count))
      result.push_back(shard.batch.layout.tokens());
    return result;
  };
  CHECK(tokens(1) == std::vector<int64_t>({21}));
  CHECK(tokens(2) == std::vector<int64_t>({9, 12}));
  CHECK(tokens(9) == std::vector<int64_t>({1, 4, 4, 12}));
  auto unlabelled = batch.batch;
  unlabelled.labels = unlabelled.labels->clone().fill_(-100);
  CHECK_EQ(split(*model, unlabelled, batch.request, 3).size(), size_t{1});
  unlabelled.labels = unlabelled.labels->narrow(0, 0, 20);
  CHECK_THROWS(ErrorCode::invalid_argument, split(*model, unlabelled, batch.request, 3));
}

TEST(an_error_in_one_shard_comes_out_once_all_have_ended) {
  const Threads threads(2);
  int ended = 0;
  CHECK_THROWS(ErrorCode::busy, run_shards(2, [&](size_t i) {
                 if (i == 1) fail(ErrorCode::busy, "test", "one");
                 ++ended;
               }));
  CHECK_EQ(ended, 1);
}

TEST(answers_of_shared_rows_are_those_of_one_thread) {
  auto config = tiny(0);
  config.hidden_size = 64;
  config.intermediate_size = 128;
  config.max_position_embeddings = 128;
  for (auto type : kHeads) {
    auto model = model_of(config, type, {});
    BatchInput input;
    input.row_lengths = {1, 60, 60, 100};
    for (int i = 0; i < 221; ++i) input.ids.push_back(3 + i % 40);
    if (type == HeadType::multilabel_classification) {
      input.float_labels = std::vector<float>(12, 1.0f);
    } else {
      input.int_labels = std::vector<int32_t>(type == HeadType::classification ? 4 : 221, 2);
    }
    model->backbone().prepare(input);
    const auto batch = PackedBatch::pack(input, at::kCPU);
    ForwardRequest request;
    request.segments = {{0, 2, only(*model, "a")}, {2, 4, {}}};
    request.head = "a";
    request.hidden_states = true;
    auto answer = [&](int count) {
      const Threads threads(count);
      CHECK_EQ(shard_count(*model, batch), count);
      return evaluate(*model, batch, request);
    };
    const auto whole = answer(1), shared = answer(3);
    CHECK(difference(shared.logits, whole.logits) < 1e-5);
    CHECK(difference(shared.loss, whole.loss) < 1e-5);
    CHECK(difference(shared.encoded.last, whole.encoded.last) < 1e-5);
    CHECK_EQ(shared.encoded.hidden_states.size(), whole.encoded.hidden_states.size());
    for (size_t i = 0; i < whole.encoded.hidden_states.size(); ++i)
      CHECK(difference(shared.encoded.hidden_states[i], whole.encoded.hidden_states[i]) < 1e-5);
  }
}

TEST(rows_with_heads_of_their_own_are_answered_as_by_each_head_alone) {
  auto config = tiny(0);
  config.hidden_size = 64;
  config.intermediate_size = 128;
  config.max_position_embeddings = 128;
  auto model = model_of(config, HeadType::classification, {});
  const std::pair<const char*, HeadType> more[] = {{"tags", HeadType::tagging},
                                                   {"many", HeadType::multilabel_classification}};
  for (const auto& [name, type] : more) {
    HeadConfig head;
    head.type = type;
    head.num_labels = 5;
    head.use_pooler = type == HeadType::multilabel_classification;
    model->add_head(name, head, 4);
  }
  BatchInput input;
  input.row_lengths = {1, 60, 60, 100};
  for (int i = 0; i < 221; ++i) input.ids.push_back(3 + i % 40);
  model->backbone().prepare(input);
  const auto batch = PackedBatch::pack(input, at::kCPU);
  ForwardRequest request;
  request.segments = {{0, 2, only(*model, "a")}, {2, 4, {}}};
  auto answer = [&](const ForwardRequest& asked, int count) {
    const Threads threads(count);
    CHECK_EQ(shard_count(*model, batch), count);
    return evaluate(*model, batch, asked);
  };
  auto alone = [&](const char* head) {
    auto one = request;
    one.head = head;
    return answer(one, 1).logits;
  };
  auto each = request;
  each.heads = {"many", "tags", "a"};
  for (const auto& row_heads : std::vector<std::vector<std::vector<int64_t>>>{
           {{1}, {0, 3}, {2}}, {{}, {}, {0, 1, 2, 3}}, {{0, 2}, {}, {1, 3}}, {{}, {1, 2, 3}, {0}}}) {
    each.row_heads = row_heads;
    for (int count : {1, 3}) {
      const auto logits = answer(each, count).head_logits;
      CHECK_EQ(logits.size(), size_t{3});
      for (size_t i = 0; i < 3; ++i) {
        const auto whole = alone(each.heads[i].c_str());
        int64_t at = 0;
        for (int64_t row : row_heads[i]) {
          const bool tokens = i == 1;
          const int64_t size = tokens ? batch.layout.length(row) : 1;
          const auto expected = whole.narrow(0, tokens ? batch.layout.starts()[row] : row, size);
          CHECK(difference(logits[i].narrow(0, at, size), expected) < 1e-5);
          at += size;
        }
        CHECK_EQ(logits[i].defined() ? logits[i].size(0) : 0, at);
      }
    }
  }
}
