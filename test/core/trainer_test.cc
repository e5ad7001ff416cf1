// A whole training step without Node: every head and way to train, a checkpoint that continues bit for bit, damaged
// checkpoints refused.
#include <ATen/ops/equal.h>

#include "check.h"
#include "core/models/bert.h"
#include "core/models/initialise.h"
#include "core/training/trainer.h"

namespace {

using namespace ta;

ModelConfig tiny(double dropout) {
  ModelConfig config;
  config.vocab_size = 50;
  config.hidden_size = 16;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 2;
  config.intermediate_size = 32;
  config.max_position_embeddings = 12;
  config.hidden_dropout_prob = dropout;
  config.attention_probs_dropout_prob = dropout;
  return config;
}

std::unique_ptr<AdapterModel> tiny_model(HeadType type, double dropout = 0.1) {
  auto backbone = std::make_shared<BertModel>(tiny(dropout));
  Random random(1);
  initialise_missing(*backbone, backbone->prefix(), 0.02, random, at::kCPU);
  auto model = std::make_unique<AdapterModel>(backbone, at::kCPU);
  BottleneckConfig adapter;
  adapter.bottleneck_sizes = {4, 4};
  adapter.mh_adapter = true;
  model->add_adapter("a", {adapter}, 2);
  HeadConfig head;
  head.type = type;
  head.num_labels = 3;
  model->add_head("a", head, 3);
  return model;
}

std::vector<MicroBatch> batch_for(AdapterModel& model, HeadType type) {
  BatchInput input;
  input.row_lengths = {1, 4, 4, 12};
  for (int i = 0; i < 21; ++i) input.ids.push_back(3 + i);
  if (type == HeadType::multilabel_classification) {
    input.float_labels = std::vector<float>(12, 1.0f);
  } else if (type == HeadType::classification) {
    input.int_labels = std::vector<int32_t>{0, 1, 2, 1};
  } else {
    input.int_labels = std::vector<int32_t>(21, -100);
    (*input.int_labels)[2] = 1, (*input.int_labels)[20] = 2;
  }
  model.backbone().prepare(input);
  ForwardRequest request;
  request.segments = {{0, 4, {model.adapter_index("a")}}};
  request.head = "a";
  std::vector<MicroBatch> batches;
  batches.push_back({PackedBatch::pack(input, at::kCPU), request});
  return batches;
}

TrainerOptions options() {
  TrainerOptions result;
  result.learning_rate = 1e-2;
  result.adamw.weight_decay = 0.01;
  result.schedule = {ScheduleKind::linear, 2, 20};
  return result;
}

std::vector<at::Tensor> values(AdapterModel& model) {
  std::vector<at::Tensor> result;
  for (auto* flat : model.trainable()) result.push_back(flat->values().clone());
  return result;
}

}  // namespace

TEST(every_head_learns_in_every_way) {
  for (auto type :
       {HeadType::classification, HeadType::multilabel_classification, HeadType::tagging, HeadType::masked_lm}) {
    for (int way = 0; way < 3; ++way) {
      auto model = tiny_model(type, 0);
      Trainable what{way == 1 ? std::vector<std::string>{} : std::vector<std::string>{"a"}, {"a"}, {}};
      if (way == 2) {
        for (const auto& named : model->named_parameters()) {
          if (named.name.find(".adapters.") == std::string::npos && named.name.rfind("heads.", 0) != 0) {
            what.base.push_back(named.name);
          }
        }
      }
      model->set_trainable(what);
      Trainer trainer(*model, options());
      auto batches = batch_for(*model, type);
      double first = 0, last = 0;
      for (int i = 0; i < 20; ++i) (i == 0 ? first : last) = trainer.step(batches, nullptr).loss;
      CHECK(last < first);
    }
  }
}

TEST(a_checkpoint_continues_bit_for_bit) {
  check::TemporaryFolder folder;
  const auto file = folder.file("training.safetensors");
  auto straight = tiny_model(HeadType::classification);
  straight->set_trainable({{"a"}, {"a"}, {}});
  Trainer whole(*straight, options());
  auto batches = batch_for(*straight, HeadType::classification);
  for (int i = 0; i < 4; ++i) whole.step(batches, nullptr);
  whole.save(file, "{\"step\":4}");
  for (int i = 0; i < 4; ++i) whole.step(batches, nullptr);

  auto resumed = tiny_model(HeadType::classification);
  resumed->set_trainable({{"a"}, {"a"}, {}});
  Trainer rest(*resumed, options());
  CHECK_EQ(rest.load(file), std::string("{\"step\":4}"));
  CHECK_EQ(rest.steps(), int64_t{4});
  auto again = batch_for(*resumed, HeadType::classification);
  for (int i = 0; i < 4; ++i) rest.step(again, nullptr);
  const auto a = values(*straight), b = values(*resumed);
  for (size_t i = 0; i < a.size(); ++i) CHECK(at::equal(a[i], b[i]));
}

TEST(a_damaged_checkpoint_is_refused_and_changes_nothing) {
  check::TemporaryFolder folder;
  const auto file = folder.file("training.safetensors");
  auto model = tiny_model(HeadType::classification);
  model->set_trainable({{"a"}, {"a"}, {}});
  Trainer trainer(*model, options());
  auto batches = batch_for(*model, HeadType::classification);
  trainer.step(batches, nullptr);
  trainer.save(file, "");
  const auto before = values(*model);
  const auto whole = check::read_file(file);
  for (size_t at = whole.size() - 1; at > whole.size() / 2; at -= whole.size() / 40) {
    auto bytes = whole;
    bytes[at] = static_cast<char>(bytes[at] ^ 0x10);
    check::write_file(file, bytes);
    CHECK_THROWS(ErrorCode::file_format, trainer.load(file));
  }
  const auto after = values(*model);
  for (size_t i = 0; i < before.size(); ++i) CHECK(at::equal(before[i], after[i]));
}

TEST(a_stop_between_micro_batches_updates_nothing) {
  auto model = tiny_model(HeadType::classification);
  model->set_trainable({{"a"}, {"a"}, {}});
  Trainer trainer(*model, options());
  auto batches = batch_for(*model, HeadType::classification);
  const auto before = values(*model);
  std::atomic<bool> stop{true};
  CHECK_THROWS(ErrorCode::aborted, trainer.step(batches, &stop));
  const auto after = values(*model);
  for (size_t i = 0; i < before.size(); ++i) CHECK(at::equal(before[i], after[i]));
  CHECK_EQ(trainer.steps(), int64_t{0});
}
