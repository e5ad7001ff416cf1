// The modules of the document that this project builds against its own Python (scripts/fixtures/seed_text.py): values
// and gradients, for rows of one token, one row and uneven rows together.
#include <ATen/TensorOperators.h>

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>

#include <cmath>
#include <map>
#include <optional>

#include "check.h"
#include "core/adapters/dynamic_adapter.h"
#include "core/adapters/flat_parameters.h"
#include "core/adapters/fused_adapters.h"
#include "core/adapters/hierarchical_adapter.h"
#include "core/nn/forward_context.h"
#include "core/nn/gradient.h"
#include "core/nn/sequential.h"
#include "core/state/json.h"
#include "core/state/safetensors.h"

namespace {

using namespace ta;

struct SeedCase {
  std::string name, kind;
  const Json& json;
  const StateDict& tensors;

  const at::Tensor& tensor(const Json& reference) const { return tensors.at(reference.as_string(name)); }
  int64_t option(const char* key) const { return json.find("options")->find(key)->as_integer(name); }
  std::vector<int64_t> integers(const Json& list) const {
    std::vector<int64_t> result;
    for (const auto& value : list.as_array(name)) result.push_back(value.as_integer(name));
    return result;
  }
  std::map<std::string, at::Tensor> named(const Json& object) const {
    std::map<std::string, at::Tensor> result;
    for (const auto& [key, reference] : object.as_object(name)) result.emplace(key, tensor(reference).clone());
    return result;
  }
};

// The module, and how it takes the case's inputs.
struct Made {
  std::shared_ptr<Module> module;
  std::function<at::Tensor(std::map<std::string, at::Tensor>&, const ForwardContext&)> run;
};

Made of_layer(std::shared_ptr<Layer> layer) {
  return {layer, [layer](auto& in, const ForwardContext& context) { return layer->forward(in.at("x"), context); }};
}

Made make_module(const SeedCase& c) {
  constexpr int64_t hidden = 16;
  const auto* given = c.json.find("options")->find("sizes");
  const auto sizes = given ? c.integers(*given) : std::vector<int64_t>{};
  if (c.kind == "adapter") {
    const auto name = c.json.find("options")->find("activation")->as_string(c.name);
    return of_layer(std::make_shared<AdapterLayer>(hidden, sizes[0], name == "unknown" ? "linear" : name));
  }
  if (c.kind == "hierarchical") return of_layer(std::make_shared<HierarchicalAdapter>(hidden, sizes, "relu"));
  if (c.kind == "dynamic") {
    const double temperature = c.json.find("options")->find("temperature")->as_number(c.name);
    const DynamicOptions options{.soft_mask = c.option("soft") == 1, .temperature = temperature};
    return of_layer(std::make_shared<DynamicAdapter>(hidden, sizes[0], options));
  }
  if (c.kind == "shared") {
    auto adapter = std::make_shared<AdapterLayer>(hidden, sizes[0], "relu");
    auto holder = std::make_shared<Container>("SharedAdapter");
    holder->add("shared_adapter", adapter);
    return {holder, [adapter](auto& in, const ForwardContext& context) {
              return at::cat({adapter->forward(in.at("x"), context), adapter->forward(in.at("x2"), context)}, 1);
            }};
  }
  auto fusion = std::make_shared<AttentionFusion>(c.option("adapters"), hidden, 8);
  return {fusion, [fusion, n = c.option("adapters")](auto& in, const ForwardContext&) {
            std::vector<at::Tensor> outputs;
            for (int64_t i = 0; i < n; ++i) outputs.push_back(in.at("x" + std::to_string(i)));
            return fusion->forward(in.at("base"), outputs);
          }};
}

FlatParameters parameters_of(const Module& module) {
  std::vector<NamedParameter> named;
  module.visit_parameters("", [&](const std::string& name, const Parameter& p) { named.push_back({name, p}); });
  return {std::move(named), at::kCPU};
}

void compare_values(const at::Tensor& got, const at::Tensor& expected, double tolerance, const std::string& where) {
  if (got.sizes() != expected.sizes()) {
    check::report(where.c_str(), 0, "another shape");
    return;
  }
  const double scale = tolerance < 1e-4 ? 1 : std::max(1e-3, expected.abs().max().item<double>());
  const double error = (got - expected).abs().max().item<double>() / scale;
  if (!(error <= tolerance)) check::report(where.c_str(), 0, "error " + std::to_string(error));
}

// `elsewhere`: gradients go to buffers of another thread's kind.
void check_seed_case(const SeedCase& c, bool elsewhere) {
  auto made = make_module(c);
  auto flat = parameters_of(*made.module);
  const auto weights = c.named(*c.json.find("weights"));
  CHECK_EQ(flat.parameters().size(), weights.size());
  for (const auto& named : flat.parameters()) named.parameter.value->copy_(weights.at(named.name));
  flat.set_trainable(true);
  auto inputs = c.named(*c.json.find("inputs"));
  for (auto& [key, input] : inputs) input.requires_grad_(true);

  GradientBuffers buffers;
  auto other = at::zeros_like(flat.values());
  for (size_t i = 0; i < flat.parameters().size(); ++i)
    buffers.add(*flat.parameters()[i].parameter.value, flat.view(other, i));
  std::optional<GradientScope> scope;
  if (elsewhere) scope.emplace(buffers);

  const RowLayout rows(c.integers(*c.json.find("lengths")));
  ForwardContext context;
  context.layout = &rows;
  const auto output = made.run(inputs, context);
  (output * c.tensor(*c.json.find("lossWeights"))).sum().backward();

  const auto& expected = *c.json.find("expected");
  compare_values(output.detach(), c.tensor(*expected.find("output")), 1e-5, c.name);
  for (const auto& [key, gradient] : c.named(*expected.find("inputs"))) {
    compare_values(inputs.at(key).grad(), gradient, 1e-4, c.name + ", input " + key);
  }
  const auto gradients = c.named(*expected.find("gradients"));
  for (size_t i = 0; i < flat.parameters().size(); ++i) {
    const auto& name = flat.parameters()[i].name;
    compare_values(flat.view(elsewhere ? other : flat.grads(), i), gradients.at(name), 1e-4, c.name + ", " + name);
    if (elsewhere) CHECK_EQ(flat.grad(i).abs().max().item<double>(), 0.0);
  }
}

at::Tensor normal_tensor(Random& random, at::IntArrayRef shape) {
  auto tensor = at::empty(shape, at::TensorOptions(at::kFloat));
  return random.normal_(tensor, 0, 1);
}

}  // namespace

TEST(modules_of_the_document_are_its_own_python) {
  const auto tensors = read_safetensors(check::fixture("seed.safetensors"));
  const auto json = parse_json(check::read_file(check::fixture("seed.json")), "seed.json");
  const auto& cases = json.find("cases")->as_array("cases");
  CHECK(cases.size() > 20);
  for (const auto& one : cases) {
    const SeedCase c{one.find("name")->as_string("name"), one.find("kind")->as_string("kind"), one, tensors};
    check_seed_case(c, false);
    check_seed_case(c, true);
  }
}

TEST(an_adapter_layer_starts_as_the_identity_with_pytorchs_linear_below) {
  AdapterLayer adapter(32, 5, "prelu");
  auto flat = parameters_of(adapter);
  flat.values().fill_(7);
  Random random(3);
  adapter.initialise(random);
  const RowLayout rows({4});
  ForwardContext context;
  context.layout = &rows;
  const auto x = normal_tensor(random, {4, 32});
  CHECK(adapter.forward(x, context).equal(x));
  for (const auto& named : flat.parameters()) {
    const auto& value = *named.parameter.value;
    const double largest = value.abs().max().item<double>();
    if (named.name.starts_with("up_project")) CHECK_EQ(largest, 0.0);
    if (named.name == "activation.weight") CHECK_EQ(largest, 0.25);
    if (named.name.starts_with("down_project")) CHECK(largest <= 1 / std::sqrt(32.0) && largest > 0.05);
    if (named.name == "down_project.weight") CHECK_NEAR(value.std().item<double>(), 1 / std::sqrt(32.0 * 3), 0.015);
  }
}

// Two kinds of rows: those that start with +1 must pass through all of M, those with -1 must stay as they are. The
// projections stand still, so only the choice of a size can tell them apart.
TEST(the_size_controller_learns_through_the_size) {
  for (const bool soft : {false, true}) {
    constexpr int64_t hidden = 4, largest = 8;
    DynamicAdapter adapter(hidden, largest, {.soft_mask = soft});
    auto flat = parameters_of(adapter);
    Random random(5);
    adapter.initialise(random);
    for (const auto& named : flat.parameters()) {
      if (named.name.ends_with("bias")) named.parameter.value->zero_();
      if (named.name == "up_project.weight") random.normal_(*named.parameter.value, 0, 0.7);
    }
    flat.set_trainable(true, {"down_project.weight", "down_project.bias", "up_project.weight", "up_project.bias"});

    const RowLayout rows({3, 1, 5, 2, 4, 4});
    ForwardContext context;
    context.layout = &rows;
    auto x = normal_tensor(random, {rows.tokens(), hidden});
    auto target = x.clone();
    for (int64_t row = 0; row < rows.rows(); ++row) {
      auto tokens = x.narrow(0, rows.starts()[row], rows.length(row));
      tokens.select(1, 0).fill_(row % 2 == 0 ? 1 : -1);
    }
    const auto find = [&](const std::string& name) {
      for (const auto& named : flat.parameters())
        if (named.name == name) return named.parameter.value->detach();
      return at::Tensor();
    };
    const auto full = x + at::matmul(at::matmul(x, find("down_project.weight").t()), find("up_project.weight").t());
    for (int64_t row = 0; row < rows.rows(); ++row) {
      const auto& source = row % 2 == 0 ? full : x;
      target.narrow(0, rows.starts()[row], rows.length(row))
          .copy_(source.narrow(0, rows.starts()[row], rows.length(row)));
    }
    double first = 0, last = 0;
    for (int step = 0; step < 400; ++step) {
      flat.zero_grads();
      const auto loss = (adapter.forward(x, context) - target).square().mean();
      loss.backward();
      if (step == 0) first = loss.item<double>();
      last = loss.item<double>();
      const c10::NoGradGuard guard;
      flat.moving().sub_(flat.grads(), 2.0);
    }
    const c10::NoGradGuard guard;
    const auto sizes = adapter.sizes(x, context).floor();
    for (int64_t row = 0; row < rows.rows(); ++row) {
      const auto size = sizes[row].item<double>();
      CHECK(row % 2 == 0 ? size >= largest - 1 : size == 0);
    }
    CHECK(last < 0.2 * first);
  }
}

TEST(a_sequence_names_its_layers_by_place_and_gives_the_whole_size) {
  auto first = std::make_shared<Linear>(4, 6);
  auto adapter = std::make_shared<AdapterLayer>(6, 2, "relu");
  Sequential whole({first, adapter});
  std::vector<std::string> names;
  whole.visit_parameters("mlp", [&](const std::string& name, const Parameter&) { names.push_back(name); });
  CHECK_EQ(names,
           std::vector<std::string>{"mlp.0.weight", "mlp.0.bias", "mlp.1.down_project.weight",
                                    "mlp.1.down_project.bias", "mlp.1.up_project.weight", "mlp.1.up_project.bias"});
  CHECK_EQ(whole.size().in, 4);
  CHECK_EQ(whole.size().out, 6);
  CHECK(!whole.reads_whole_rows());
  CHECK(Sequential({first, std::make_shared<DynamicAdapter>(6, 2, DynamicOptions{})}).reads_whole_rows());
}

TEST(fusion_heads_divide_the_hidden_size) {
  const auto message = CHECK_THROWS(ErrorCode::invalid_argument, AttentionFusion(2, 20, 8));
  CHECK(check::contains(message, "8 heads for 20"));
}
