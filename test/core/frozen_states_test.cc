// A batch that begins with kept states gives what the whole network gives: losses, gradients, answers; on one thread
// and on several, with copies, for layers that all rows leave free.
#include "core/training/frozen_states.h"

#include <ATen/ops/equal.h>

#include "check.h"
#include "core/models/gpt2.h"
#include "core/training/evaluate.h"
#include "shard_results.h"
#include "tiny.h"

namespace {

using namespace ta;
using namespace tiny_models;
using namespace shard_results;

FrozenStatesOptions kept_in(const check::TemporaryFolder& folder) {
  return {folder.file("states"), "tiny", 1 << 20, at::kFloat};
}

// Adapter "a" stands in all layers, "b" from layer 1 on, "c" in the last one of three.
std::unique_ptr<AdapterModel> three_layers(const std::string& family, HeadType type) {
  auto config = tiny(0);
  config.num_hidden_layers = 3;
  config.model_type = family;
  std::shared_ptr<Model> backbone;
  if (family == "gpt2") {
    config.type_vocab_size = 0;
    backbone = std::make_shared<Gpt2Model>(config);
  } else {
    backbone = std::make_shared<BertModel>(config);
  }
  Random random(1);
  initialise_missing(*backbone, backbone->prefix(), 0.3, random, at::kCPU);
  auto model = std::make_unique<AdapterModel>(backbone, at::kCPU);
  const std::pair<const char*, std::vector<int64_t>> adapters[] = {
      {"a", {4, 4, 4}}, {"b", {0, 4, 4}}, {"c", {0, 0, 4}}};
  for (const auto& [name, sizes] : adapters) {
    BottleneckConfig form;
    form.bottleneck_sizes = sizes;
    model->add_adapter(name, {form}, 2);
  }
  HeadConfig head;
  head.type = type;
  head.num_labels = type == HeadType::multiple_choice ? 1 : 3;
  model->add_head("a", head, 3);
  return model;
}

PackedBatch packed_for(AdapterModel& model, HeadType type) {
  auto input = input_for(type);
  model.backbone().prepare(input);
  return PackedBatch::pack(input, at::kCPU);
}

ForwardRequest under(const AdapterModel& model, const std::vector<const char*>& adapters) {
  ForwardRequest request;
  request.head = "a";
  for (int64_t row = 0; row < 4; ++row) {
    const auto* name = adapters[static_cast<size_t>(row) % adapters.size()];
    request.segments.push_back({row, row + 1, name == nullptr ? nullptr : only(model, name)});
  }
  return request;
}

}  // namespace

TEST(kept_states_give_the_loss_and_gradients_of_the_whole_network) {
  for (const char* family : {"bert", "gpt2"}) {
    for (auto type : {HeadType::classification, HeadType::tagging, HeadType::multiple_choice}) {
      if (family == std::string("gpt2") && type == HeadType::multiple_choice) continue;  // it has none
      const check::TemporaryFolder folder;
      auto model = three_layers(family, type);
      model->set_trainable({{"b", "c"}, {"a"}, {}});
      for (const auto& adapters : std::vector<std::vector<const char*>>{{"b"}, {"c"}, {"c", "b"}, {nullptr, "c"}}) {
        const auto request = under(*model, adapters);
        const auto plain = packed_for(*model, type);
        const auto expected = gradients(*model, {plain, request}, 1);
        FrozenStates states(*model, kept_in(folder));
        for (int pass : {1, 2}) {
          auto batch = plain;
          states.fill(batch, request);
          CHECK_EQ(states.layers(), std::string(adapters.back()) == "b" ? 1 : 2);
          CHECK_EQ(batch.first_layer, states.layers());
          CHECK(batch.states.defined());
          CHECK_EQ(states.rows_read() + states.rows_computed(), int64_t{4 * pass});
          for (int shards : {1, 3}) check_same(gradients(*model, {batch, request}, shards), expected);
        }
        CHECK(states.rows_read() >= 4);
      }
      // Rows of all passes were computed once for each number of layers.
      FrozenStates again(*model, kept_in(folder));
      auto batch = packed_for(*model, type);
      again.fill(batch, under(*model, {"b"}));
      again.fill(batch, under(*model, {"c"}));
      CHECK_EQ(again.rows_computed(), int64_t{0});
    }
  }
}

TEST(a_head_alone_reads_what_all_layers_gave) {
  for (const char* family : {"bert", "gpt2"}) {
    const check::TemporaryFolder folder;
    auto model = three_layers(family, HeadType::classification);
    model->set_trainable({{}, {"a"}, {}});
    const auto request = under(*model, {nullptr});
    const auto plain = packed_for(*model, HeadType::classification);
    const auto expected = evaluate(*model, plain, request);
    FrozenStates states(*model, kept_in(folder));
    auto batch = plain;
    states.fill(batch, request);
    CHECK_EQ(batch.first_layer, int64_t{3});
    CHECK(difference(evaluate(*model, batch, request).logits, expected.logits) < 1e-5);
    check_same(gradients(*model, {batch, request}, 2), gradients(*model, {plain, request}, 1));
  }
}

TEST(copies_begin_with_the_states_of_their_rows) {
  const check::TemporaryFolder folder;
  auto model = three_layers("bert", HeadType::classification);
  model->set_trainable({{"b", "c"}, {"a"}, {}});
  ForwardRequest request;
  request.head = "a";
  request.copies = 2;
  request.segments = {{0, 4, only(*model, "b")}, {4, 8, only(*model, "c")}};
  const auto plain = packed_for(*model, HeadType::classification);
  FrozenStates states(*model, kept_in(folder));
  auto batch = plain;
  states.fill(batch, request);
  CHECK_EQ(batch.first_layer, int64_t{1});
  for (int count : {2, 8}) {
    const Threads threads(count);
    for (int shards : {1, 3})
      check_same(gradients(*model, {batch, request}, shards), gradients(*model, {plain, request}, 1));
  }
}

TEST(of_the_layer_that_the_first_adapter_ends_what_its_site_reads_is_kept) {
  const check::TemporaryFolder folder;
  const auto fill = [&](AdapterModel& model, const ForwardRequest& request) {
    auto batch = packed_for(model, HeadType::classification);
    FrozenStates states(model, kept_in(folder));
    states.fill(batch, request);
    return std::pair(batch.states.size(1) / model.backbone().config().hidden_size, states.rows_computed());
  };
  auto model = three_layers("bert", HeadType::classification);
  model->set_trainable({{"b", "c"}, {"a"}, {}});
  CHECK(fill(*model, under(*model, {"b"})) == std::pair(int64_t{2}, int64_t{4}));
  CHECK(fill(*model, under(*model, {"b"})) == std::pair(int64_t{2}, int64_t{0}));
  // Of the last layer one token a row is wanted: it is left whole.
  CHECK(fill(*model, under(*model, {"c"})) == std::pair(int64_t{1}, int64_t{4}));
  for (const auto& named : model->named_parameters())
    if (named.name == "bert.encoder.layer.1.attention.output.dense.bias") named.parameter.value->add_(1);
  CHECK(fill(*model, under(*model, {"b"})) == std::pair(int64_t{2}, int64_t{4}));
  // What trains in the layer leaves it whole.
  model->set_trainable({{"b"}, {"a"}, {"bert.encoder.layer.1.output.LayerNorm.bias"}});
  CHECK_EQ(fill(*model, under(*model, {"b"})).first, int64_t{1});
  for (const char* family : {"distilbert", "gpt2"}) {
    auto other = three_layers(family, HeadType::classification);
    other->set_trainable({{"b"}, {"a"}, {}});
    CHECK_EQ(fill(*other, under(*other, {"b"})).first, int64_t{2});
  }
}

TEST(what_trains_and_what_stands_in_front_ends_the_frozen_layers) {
  const check::TemporaryFolder folder;
  auto model = three_layers("bert", HeadType::classification);
  auto batch = packed_for(*model, HeadType::classification);
  const auto layers_of = [&](const ForwardRequest& request) {
    FrozenStates states(*model, kept_in(folder));
    auto own = batch;
    states.fill(own, request);
    CHECK_EQ(own.states.defined(), own.first_layer > 0);
    return own.first_layer;
  };
  model->set_trainable({{"a", "c"}, {"a"}, {}});
  CHECK_THROWS(ErrorCode::invalid_argument, layers_of(under(*model, {"a"})));
  CHECK_THROWS(ErrorCode::invalid_argument, layers_of(under(*model, {"c", "a"})));
  auto skipping = under(*model, {"a"});
  for (auto& segment : skipping.segments) {
    auto setup = *segment.setup;
    setup.skip_layers = {0, 1};
    segment.setup = std::make_shared<Composition>(setup);
  }
  CHECK_EQ(layers_of(skipping), int64_t{2});
  model->set_trainable({{"c"}, {"a"}, {"bert.encoder.layer.1.output.dense.bias"}});
  CHECK_EQ(layers_of(under(*model, {"c"})), int64_t{1});
  model->set_trainable({{"c"}, {"a"}, {"bert.pooler.dense.bias"}});
  CHECK_EQ(layers_of(under(*model, {"c"})), int64_t{2});
  model->set_trainable({{"c"}, {"a"}, {"bert.embeddings.LayerNorm.bias"}});
  CHECK_THROWS(ErrorCode::invalid_argument, layers_of(under(*model, {"c"})));
  auto hidden = under(*model, {"c"});
  hidden.hidden_states = true;
  CHECK_EQ(layers_of(hidden), int64_t{0});
}

TEST(other_weights_another_config_and_other_rows_have_states_of_their_own) {
  const check::TemporaryFolder folder;
  auto model = three_layers("bert", HeadType::classification);
  model->set_trainable({{"c"}, {"a"}, {}});
  const auto request = under(*model, {"c"});
  const auto plain = packed_for(*model, HeadType::classification);
  const auto computed = [&](const FrozenStatesOptions& options, PackedBatch batch) {
    FrozenStates states(*model, options);
    states.fill(batch, request);
    return states.rows_computed();
  };
  CHECK_EQ(computed(kept_in(folder), plain), int64_t{4});
  CHECK_EQ(computed(kept_in(folder), plain), int64_t{0});
  auto other = kept_in(folder);
  other.model = "another config";
  CHECK_EQ(computed(other, plain), int64_t{4});
  auto types = plain;
  types.token_types = plain.token_types->clone();
  types.token_types->narrow(0, 2, 1).fill_(1);  // in row 1
  CHECK_EQ(computed(kept_in(folder), types), int64_t{1});
  auto moved = plain;
  moved.positions = plain.positions->clone();
  moved.positions->narrow(0, 20, 1).fill_(3);  // in row 3
  CHECK_EQ(computed(kept_in(folder), moved), int64_t{1});
  for (const auto& named : model->named_parameters())
    if (named.name == "bert.encoder.layer.2.output.dense.bias") named.parameter.value->add_(1);
  CHECK_EQ(computed(kept_in(folder), plain), int64_t{0});
  for (const auto& named : model->named_parameters())
    if (named.name == "bert.encoder.layer.1.output.dense.bias") named.parameter.value->add_(1);
  CHECK_EQ(computed(kept_in(folder), plain), int64_t{4});
}
