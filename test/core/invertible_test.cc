// Invertible adapters: the way back undoes the way in, and rows keep their own where they are shared among threads and
// where only labelled tokens reach the head.
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>

#include "check.h"
#include "core/adapters/invertible.h"
#include "shard_results.h"
#include "tiny.h"

namespace {

using namespace ta;
using namespace tiny_models;
using namespace shard_results;

BottleneckConfig invertible_config(bool glow) {
  BottleneckConfig config;
  config.bottleneck_sizes = {4, 4};
  config.non_linearity = "tanh";
  config.invertible = InvertibleConfig{glow, 3, 5};
  return config;
}

}  // namespace

TEST(the_way_back_undoes_the_way_in) {
  for (bool glow : {false, true}) {
    for (int64_t width : {16, 7}) {
      const auto adapter = make_invertible(width, invertible_config(glow));
      Random random(3);
      adapter->visit_parameters("", [&](const std::string&, const Parameter& parameter) {
        *parameter.value = at::zeros(parameter.shape);
        random.normal_(*parameter.value, 0, 0.7);
      });
      const auto x = at::randn({5, width});
      const auto y = adapter->forward(x);
      CHECK_EQ(y.size(1), width);
      CHECK(difference(y, x) > 0.1);
      CHECK(difference(adapter->inverse(y), x) < 1e-4);
    }
  }
}

TEST(shards_of_invertible_adapters_give_the_gradients_of_the_whole_batch) {
  const Threads threads(3);
  auto model = tiny_model(HeadType::masked_lm, 0);
  for (bool glow : {false, true}) {
    const std::string name = glow ? "glow" : "nice";
    model->add_adapter(name, {invertible_config(glow)}, 5);
    Random random(9);
    for (const auto& named : model->adapter_state(name)) random.normal_(*named.parameter.value, 0.1, 0.3);
    model->set_trainable({{name}, {"a"}, {}});
    auto batch = std::move(batch_for(*model, HeadType::masked_lm)[0]);
    const auto own = only(*model, name);
    batch.request.segments = {{0, 1, own}, {1, 2, nullptr}, {2, 3, only(*model, "a")}, {3, 4, own}};
    // Only labelled tokens reach the head where the loss alone is read.
    batch.request.answers = Answers::all;
    const auto all = gradients(*model, batch, 1);
    batch.request.answers = Answers::none;
    check_same(all, check_shards(*model, batch, {2, 4}));
  }
}
