// A whole training step without Node: every head and way to train, a checkpoint that continues bit for bit, damaged
// checkpoints refused.
#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>

#include "check.h"
#include "tiny.h"

namespace {

using namespace ta;
using namespace tiny_models;

MemberOptions member() {
  MemberOptions result;
  result.learning_rate = 1e-2;
  result.weight_decay = 0.01;
  result.schedule = {.kind = ScheduleKind::linear, .warmup_steps = 2, .total_steps = 20};
  return result;
}

TrainerOptions options() {
  return {.members = {member()}};
}

StepResult step(Trainer& trainer, std::vector<MicroBatch>& batches) {
  return trainer.step(batches, {0}, false, nullptr);
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
    for (auto way : {Way::adapter, Way::head, Way::full}) {
      auto model = tiny_model(type, 0);
      train(*model, way);
      Trainer trainer(*model, options());
      auto batches = batch_for(*model, type);
      double first = 0, last = 0;
      for (int i = 0; i < 20; ++i) (i == 0 ? first : last) = step(trainer, batches).members[0].loss;
      CHECK(last < first);
    }
  }
}

TEST(what_the_loss_does_not_read_neither_decays_nor_moves) {
  for (const auto& optimizer : std::vector<OptimizerOptions>{AdamWOptions{}, SgdOptions{.momentum = 0.9},
                                                             AdafactorOptions{.beta1 = 0.9}, LionOptions{}}) {
    auto model = tiny_model(HeadType::classification);  // reads the first token, not the pooler
    train(*model, Way::full);
    auto own = options();
    own.members[0].optimizer = optimizer;
    own.members[0].weight_decay = 0.5;
    Trainer trainer(*model, own);
    std::vector<std::pair<std::string, at::Tensor>> before;
    for (const auto& named : model->named_parameters())
      if (named.parameter.value->requires_grad()) before.emplace_back(named.name, named.parameter.value->clone());
    auto batches = batch_for(*model, HeadType::classification);
    for (int i = 0; i < 3; ++i) step(trainer, batches);
    int still = 0;
    for (const auto& named : model->named_parameters())
      for (const auto& [name, value] : before) {
        if (name != named.name) continue;
        const bool same = at::equal(value, *named.parameter.value);
        CHECK_EQ(same, name.find(".pooler.") != std::string::npos);
        still += same ? 1 : 0;
      }
    CHECK_EQ(still, 2);
  }
}

TEST(what_the_loss_reads_decays_though_its_gradient_is_zero) {
  BottleneckConfig form;
  form.init_weights = AdapterInit::zeros;  // of the up-projection: nothing comes back to the one before it
  auto model = model_of(tiny(0), HeadType::classification, form);
  train(*model, Way::adapter);
  auto own = options();
  own.members[0].schedule = {.kind = ScheduleKind::constant};
  Trainer trainer(*model, own);
  std::vector<at::Tensor> before;
  const auto down = [&] {
    std::vector<at::Tensor> found;
    for (const auto& named : model->named_parameters())
      if (named.name.ends_with(".adapter_down.0.weight")) found.push_back(*named.parameter.value);
    return found;
  };
  for (const auto& value : down()) before.push_back(value.detach().clone());
  auto batches = batch_for(*model, HeadType::classification);
  step(trainer, batches);
  CHECK_EQ(before.size(), size_t{4});
  for (size_t i = 0; i < before.size(); ++i) {
    const auto expected = before[i] * (1 - 1e-2 * 0.01);
    CHECK(at::allclose(down()[i], expected, 1e-6, 0));
    CHECK(!at::equal(down()[i], before[i]));
  }
}

TEST(a_checkpoint_continues_bit_for_bit) {
  check::TemporaryFolder folder;
  const auto file = folder.file("training.safetensors");
  auto straight = tiny_model(HeadType::classification);
  straight->set_trainable({{"a"}, {"a"}, {}});
  Trainer whole(*straight, options());
  auto batches = batch_for(*straight, HeadType::classification);
  for (int i = 0; i < 4; ++i) step(whole, batches);
  whole.save(file, "{\"step\":4}");
  for (int i = 0; i < 4; ++i) step(whole, batches);

  auto resumed = tiny_model(HeadType::classification);
  resumed->set_trainable({{"a"}, {"a"}, {}});
  Trainer rest(*resumed, options());
  CHECK_EQ(rest.load(file), std::string("{\"step\":4}"));
  CHECK_EQ(rest.steps(), int64_t{4});
  auto again = batch_for(*resumed, HeadType::classification);
  for (int i = 0; i < 4; ++i) step(rest, again);
  const auto a = values(*straight), b = values(*resumed);
  for (size_t i = 0; i < a.size(); ++i) CHECK(at::equal(a[i], b[i]));
}

TEST(a_checkpoint_of_one_optimizer_is_refused_by_every_other) {
  const std::vector<OptimizerOptions> kinds = {AdamWOptions{}, SgdOptions{.momentum = 0.9}, AdafactorOptions{},
                                               LionOptions{}};
  check::TemporaryFolder folder;
  const auto file = folder.file("training.safetensors");
  for (size_t written = 0; written < kinds.size(); ++written) {
    for (size_t read = 0; read < kinds.size(); ++read) {
      auto model = tiny_model(HeadType::classification);
      model->set_trainable({{"a"}, {"a"}, {}});
      auto with = [&](size_t kind) {
        auto result = options();
        result.members[0].optimizer = kinds[kind];
        return result;
      };
      Trainer writer(*model, with(written)), reader(*model, with(read));
      auto batches = batch_for(*model, HeadType::classification);
      step(writer, batches);
      writer.save(file, "");
      if (written == read) {
        reader.load(file);
        CHECK_EQ(reader.steps(), int64_t{1});
      } else {
        CHECK_THROWS(ErrorCode::state_dict, reader.load(file));
        CHECK_EQ(reader.steps(), int64_t{0});
      }
    }
  }
}

TEST(a_damaged_checkpoint_is_refused_and_changes_nothing) {
  check::TemporaryFolder folder;
  const auto file = folder.file("training.safetensors");
  auto model = tiny_model(HeadType::classification);
  model->set_trainable({{"a"}, {"a"}, {}});
  Trainer trainer(*model, options());
  auto batches = batch_for(*model, HeadType::classification);
  step(trainer, batches);
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
  CHECK_THROWS(ErrorCode::aborted, trainer.step(batches, {0}, false, [] { return true; }));
  const auto after = values(*model);
  for (size_t i = 0; i < before.size(); ++i) CHECK(at::equal(before[i], after[i]));
  CHECK_EQ(trainer.steps(), int64_t{0});
}
