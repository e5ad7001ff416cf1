// LoRA and its kin where rows are shared among threads, where dropout acts, and where the last layer answers for first
// tokens alone.
#include <ATen/ops/equal.h>

#include "check.h"
#include "core/adapters/lora_kinds.h"
#include "core/training/evaluate.h"
#include "shard_results.h"
#include "tiny.h"

namespace {

using namespace ta;
using namespace tiny_models;
using namespace shard_results;

LoraConfig everywhere() {
  LoraConfig config;
  config.key = config.attention_output = config.intermediate = config.output = true;
  config.rank = 2;
  config.alpha = 3;
  return config;
}

std::map<std::string, LoraConfig> kinds(double dropout) {
  std::map<std::string, LoraConfig> result;
  for (const char* name : {"lora", "gate", "dora", "peft dora", "vera", "dvora", "mtl", "linear"}) {
    result[name] = everywhere();
    result[name].dropout = dropout;
  }
  result["gate"].use_gating = true;
  result["dora"].dora = result["dvora"].dora = Dora::adapters;
  result["peft dora"].dora = Dora::peft;
  for (const char* name : {"vera", "dvora"}) {
    result[name].vera_d = result[name].vera_b = 0.5;
    result[name].init_weights = LoraInit::vera;
  }
  result["mtl"].mtl = MtlLoraConfig{3, false, 0.5};
  result["linear"].mtl = MtlLoraConfig{1, true, 0.5};
  result["ia3"] = everywhere();
  result["ia3"].scales = Scales::output;
  result["ia3"].rank = 1;
  result["input ia3"] = result["ia3"];
  result["input ia3"].scales = Scales::input;
  return result;
}

// The tiny model with its bottleneck 'a' and one adapter of each kind; no B is 0.
std::unique_ptr<AdapterModel> lora_model(double dropout = 0) {
  auto model = tiny_model(HeadType::classification, 0);
  for (const auto& [name, config] : kinds(dropout)) {
    model->add_adapter(name, {config}, 5);
    Random random(9);
    for (const auto& named : model->adapter_state(name)) {
      if (named.name.find("shared_parameters") == std::string::npos) random.normal_(*named.parameter.value, 0.1, 0.3);
    }
  }
  return model;
}

std::shared_ptr<const Composition> stack_of(const AdapterModel& model, const std::vector<std::string>& names) {
  auto stack = std::make_shared<Composition>(Composition{.kind = Composition::Kind::stack});
  for (const auto& name : names) stack->children.push_back(*only(model, name));
  return stack;
}

// A batch of four rows, each with what `setups` says.
MicroBatch rows_with(AdapterModel& model, const std::vector<std::shared_ptr<const Composition>>& setups) {
  auto batch = std::move(batch_for(model, HeadType::classification)[0]);
  batch.request.segments.clear();
  for (int64_t row = 0; row < 4; ++row) batch.request.segments.push_back({row, row + 1, setups[row]});
  return batch;
}

}  // namespace

TEST(shards_give_the_gradients_of_the_whole_batch_for_each_kind) {
  const Threads threads(3);
  auto model = lora_model();
  for (const auto& [name, config] : kinds(0)) {
    model->set_trainable({{name, "a"}, {"a"}, {}});
    const auto setup = stack_of(*model, {name, "a"});
    const auto batch = rows_with(*model, {setup, nullptr, only(*model, name), setup});
    check_shards(*model, batch, {2, 4});
  }
}

TEST(shards_of_rows_of_all_kinds) {
  const Threads threads(3);
  auto model = lora_model();
  model->set_trainable({{"lora", "dora", "vera", "ia3", "gate", "mtl", "a"}, {"a"}, {}});
  const auto batch = rows_with(*model, {stack_of(*model, {"ia3", "lora", "dora"}), only(*model, "a"),
                                        stack_of(*model, {"vera", "mtl", "lora"}), only(*model, "gate")});
  check_shards(*model, batch, {2, 3, 4});
}

TEST(the_base_model_trains_beside_them) {
  const Threads threads(2);
  auto model = lora_model();
  Trainable what{{"dora", "lora"}, {"a"}, {}};
  for (const auto& named : model->named_parameters())
    if (named.name.find("encoder") != std::string::npos && named.name.find("adapters") == std::string::npos &&
        named.name.find("loras") == std::string::npos)
      what.base.push_back(named.name);
  model->set_trainable(what);
  const auto setup = stack_of(*model, {"lora", "dora"});
  const auto batch = rows_with(*model, {setup, setup, nullptr, setup});
  check_same(gradients(*model, batch, 2), gradients(*model, batch, 1));
}

TEST(dropout_gives_the_same_bits_twice_and_acts_on_what_the_adapter_reads) {
  const Threads threads(2);
  auto model = lora_model(0.5);
  for (const char* name : {"lora", "dora", "vera", "mtl", "gate"}) {
    model->set_trainable({{name}, {"a"}, {}});
    const auto setup = only(*model, name);
    const auto batch = rows_with(*model, {setup, setup, setup, nullptr});
    Random one(5), two(5), other(6);
    const auto a = gradients(*model, batch, 2, &one), b = gradients(*model, batch, 2, &two),
               c = gradients(*model, batch, 2, &other);
    for (size_t i = 0; i < a.grads.size(); ++i) CHECK(at::equal(a.grads[i], b.grads[i]));
    CHECK(!at::equal(a.grads[0], c.grads[0]));
  }
}

TEST(veras_shared_pair_never_trains) {
  auto model = lora_model();
  model->set_trainable({{"vera"}, {"a"}, {}});
  for (const auto& named : model->adapter_state("vera")) {
    const bool shared = named.name.find("shared_parameters") != std::string::npos;
    CHECK_EQ(named.parameter.value->requires_grad(), !shared);
  }
}

TEST(first_tokens_alone_are_answered_as_among_all) {
  auto model = lora_model();
  for (const auto& [name, config] : kinds(0)) {
    const auto setup = only(*model, name);
    auto batch = rows_with(*model, {setup, setup, nullptr, stack_of(*model, {name, "a", "lora"})});
    batch.request.head.clear();
    auto encode = [&](bool first) {
      ForwardContext context{nullptr, &batch.request.segments, nullptr};
      return model->backbone().encode(batch.batch, context, {.row_tokens_only = first});
    };
    const auto all = encode(false), first = encode(true);
    CHECK_EQ(first.rows_only, name != "gate");
    const auto expected = all.last.index_select(0, batch.batch.first_tokens);
    const auto got = first.rows_only ? first.last : first.last.index_select(0, batch.batch.first_tokens);
    CHECK(difference(got, expected) < 1e-5);
  }
}
