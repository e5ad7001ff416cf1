// PHM layers: the matrix written out, each of the three ways to compute with it, what a pass makes once, and gradients
// of shared parameters where rows are shared among threads.
#include <ATen/ops/equal.h>
#include <ATen/ops/kron.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>

#include "check.h"
#include "core/adapters/phm.h"
#include "shard_results.h"
#include "tiny.h"

namespace {

using namespace ta;
using namespace tiny_models;
using namespace shard_results;

BottleneckConfig phm_config(const PhmConfig& phm) {
  BottleneckConfig config;
  config.mh_adapter = true;
  config.bottleneck_sizes = {8, 8};
  config.phm = phm;
  return config;
}

std::map<std::string, PhmConfig> kinds() {
  std::map<std::string, PhmConfig> result;
  result["factors"].dim = 2;
  result["whole"].factorized_weights = false;
  result["shared"] = {.dim = 2, .shared_weights = true};
  result["own"] = {.dim = 2, .shared_rule = false, .factorized_rule = true};
  return result;
}

void fill_parameters(Module& module) {
  Random random(7);
  module.visit_parameters("", [&](const std::string&, const Parameter& parameter) {
    *parameter.value = at::zeros(parameter.shape);
    random.normal_(*parameter.value, 0.1, 0.5);
  });
}

at::Tensor value(const Module& module, const std::string& wanted) {
  at::Tensor found;
  module.visit_parameters("", [&](const std::string& name, const Parameter& parameter) {
    if (name == wanted) found = *parameter.value;
  });
  return found;
}

at::Tensor all_of(const Module& module, const std::string& name) {
  auto whole = value(module, name);
  return whole.defined() ? whole : at::matmul(value(module, name + "_left"), value(module, name + "_right"));
}

at::Tensor written_out(const at::Tensor& c, const at::Tensor& w) {
  auto sum = at::kron(c[0], w[0]);
  for (int64_t i = 1; i < c.size(0); ++i) sum = sum + at::kron(c[i], w[i]);
  return sum;
}

}  // namespace

TEST(every_size_gives_the_sum_of_kronecker_products) {
  // Narrow below, narrow above, and too narrow for factors to be worth it.
  const std::vector<std::pair<int64_t, int64_t>> sizes = {{64, 8}, {8, 64}, {8, 8}};
  for (const auto& [in, out] : sizes) {
    for (const auto& [name, phm] : kinds()) {
      if (phm.shared_weights) continue;
      const auto config = phm_config(phm);
      auto shared = std::make_shared<PhmShared>(in, out, config);
      PhmLayer layer(in, out, PhmSide::down, config, shared);
      fill_parameters(*shared);
      fill_parameters(layer);
      const auto h =
          written_out(all_of(phm.shared_rule ? static_cast<Module&>(*shared) : layer, "phm_rule"), all_of(layer, "W"));
      const auto x = at::randn({5, in});
      PassMemo memo;
      const ForwardContext context{nullptr, nullptr, nullptr, &memo};
      const auto y = layer.forward(x, context);
      CHECK(difference(y, at::matmul(x, h) + value(layer, "b")) < 1e-5);
      CHECK(at::equal(layer.forward(x, context), y));
      CHECK(at::equal(layer.forward(x, {}), y));
    }
  }
}

TEST(a_pass_makes_its_factors_once) {
  PassMemo memo;
  int made = 0;
  const auto make = [&]() -> PassMemo::Value { return {at::zeros({++made})}; };
  int a = 0, b = 0;
  CHECK_EQ(memo.of({&a, &b}, make)[0].size(0), 1);
  CHECK_EQ(memo.of({&a, &b}, make)[0].size(0), 1);
  CHECK_EQ(memo.of({&b, &a}, make)[0].size(0), 2);
}

TEST(shards_give_the_gradients_of_the_whole_batch_shared_parameters_too) {
  const Threads threads(3);
  auto model = tiny_model(HeadType::classification, 0);
  for (const auto& [name, phm] : kinds()) {
    model->add_adapter(name, {phm_config(phm)}, 5);
    Random random(9);
    for (const auto& named : model->adapter_state(name)) random.normal_(*named.parameter.value, 0.1, 0.3);
    model->set_trainable({{name}, {"a"}, {}});
    auto batch = std::move(batch_for(*model, HeadType::classification)[0]);
    batch.request.segments = {{0, 1, only(*model, name)}, {1, 2, nullptr}, {2, 4, only(*model, name)}};
    check_shards(*model, batch, {2, 4});
  }
}

TEST(where_they_start) {
  auto phm = PhmConfig{.dim = 4};
  auto config = phm_config(phm);
  const auto deviation = [](const at::Tensor& x) { return (x * x).mean().sqrt().item<double>(); };
  const auto started = [&](PhmWeightInit w_init, AdapterInit init, PhmSide side) {
    config.phm->w_init = w_init;
    config.init_weights = init;
    auto layer = std::make_unique<PhmLayer>(4096, 64, side, config, std::make_shared<PhmShared>(4096, 64, config));
    fill_parameters(*layer);
    Random random(3);
    layer->initialise(random);
    CHECK_EQ(value(*layer, "b").abs().max().item<double>(), 0);
    return layer;
  };
  const double glorot = std::sqrt(2.0 / 1025);
  for (auto w_init : {PhmWeightInit::glorot_normal, PhmWeightInit::glorot_uniform}) {
    const auto left = value(*started(w_init, AdapterInit::bert, PhmSide::down), "W_left");
    CHECK_NEAR(deviation(left) / glorot, 1, 0.06);
    CHECK_EQ(left.abs().max().item<double>() > 1.8 * glorot, w_init == PhmWeightInit::glorot_normal);
  }
  CHECK_NEAR(deviation(value(*started(PhmWeightInit::normal, AdapterInit::bert, PhmSide::down), "W_left")) / 1e-4, 1,
             0.06);
  const auto cut = value(*started(PhmWeightInit::normal, AdapterInit::houlsby, PhmSide::up), "W_left");
  CHECK(cut.abs().max().item<double>() <= 0.02 && deviation(cut) > 0.008);
  for (auto init : {AdapterInit::mam_adapter, AdapterInit::zeros}) {
    const auto up = started(PhmWeightInit::glorot_uniform, init, PhmSide::up);
    CHECK_EQ(value(*up, "W_right").abs().max().item<double>(), 0);
    CHECK(value(*up, "W_left").abs().max().item<double>() > 0);
    CHECK(value(*started(PhmWeightInit::glorot_uniform, init, PhmSide::down), "W_right").abs().max().item<double>() >
          0);
  }
}
