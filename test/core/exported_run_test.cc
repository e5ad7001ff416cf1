// Programs of exported models against PyTorch (scripts/fixtures/exported.py): outputs at several shapes, and gradients
// of adapters that hooks put in after, before and beside a module and at a weight.
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/relu.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>

#include "core/exported/form_nodes.h"
#include "exported_archives.h"

namespace {

using ta::exported::Execution;
using ta::exported::Graph;
using ta::exported::Input;
using ta::exported::ModuleCall;
using ta::exported::Program;
using ta::exported::Range;

at::Tensor id_rows(const ta::Json& rows) {
  std::vector<int64_t> values;
  const ta::Json::Array& all = rows.as_array("rows");
  for (const ta::Json& row : all) {
    for (const ta::Json& id : row.as_array("row")) values.push_back(id.as_integer("id"));
  }
  const int64_t count = static_cast<int64_t>(all.size());
  return at::tensor(values, at::kLong).view({count, -1});
}

double distance_between(const at::Tensor& a, const at::Tensor& b) {
  return a.sizes() == b.sizes() ? (a - b).abs().max().item<double>() : 1e9;
}

// The fixture of one model: its archive, its cases and the tensors they name.
struct Cases {
  explicit Cases(const std::string& name)
      : model(check::exported_file(name + ".pt2")),
        json(ta::parse_json(check::read_file(check::exported_file(name + ".json")), name)),
        tensors(ta::read_safetensors(check::exported_file(name + ".safetensors"))) {}

  std::vector<at::Tensor> inputs(const ta::Json& one) const {
    std::vector<at::Tensor> result;
    for (const Input& input : model.program.graph().inputs) {
      if (input.kind == Input::Kind::user) result.push_back(id_rows(*one.find("inputs")->find(input.name)));
    }
    return result;
  }
  at::Tensor named(const ta::Json& table, const char* key) const {
    return tensors.at(table.find(key)->as_string("name"));
  }
  // Rows of padding are compared nowhere.
  at::Tensor mask(const ta::Json& one) const {
    return id_rows(*one.find("inputs")->find("attention_mask")).to(at::kFloat).unsqueeze(-1);
  }

  check::Exported model;
  ta::Json json;
  ta::StateDict tensors;
};

const ModuleCall& call_of(const Graph& graph, const std::string& path) {
  const int32_t module = graph.find_module(path);
  if (module < 0) throw std::runtime_error("no module " + path);
  return graph.modules[static_cast<std::size_t>(module)].calls.at(0);
}

int32_t input_of(const Graph& graph, const ModuleCall& call) {
  return call.has_signature && !call.inputs.empty() && call.inputs[0] >= 0 ? call.inputs[0]
                                                                           : graph.entering(call.nodes).at(0);
}
int32_t output_of(const Graph& graph, const ModuleCall& call) {
  return call.has_signature ? call.outputs.at(0) : graph.leaving(call.nodes).at(0);
}

void run_site(Cases& cases, const ta::Json& one) {
  const std::string kind = one.find("kind")->as_string("kind");
  const Graph& graph = cases.model.program.graph();
  const ModuleCall& call = call_of(graph, one.find("path")->as_string("path"));
  std::vector<std::pair<std::string, at::Tensor>> trained;
  for (const auto& [name, key] : one.find("weights")->as_object("weights")) {
    trained.emplace_back(name, cases.tensors.at(key.as_string("key")).clone().requires_grad_(true));
  }
  const auto weight = [&](const char* name) {
    for (const auto& [key, value] : trained) {
      if (key == name) return value;
    }
    throw std::runtime_error(name);
  };
  const auto bottleneck = [&](const at::Tensor& x) {
    return at::linear(at::relu(at::linear(x, weight("down.weight"), weight("down.bias"))), weight("up.weight"),
                      weight("up.bias"));
  };
  const int32_t in = input_of(graph, call);
  const int32_t out = output_of(graph, call);
  int asked = 0;
  cases.model.program.hook(call.nodes, [&](Execution& execution, const void* pass) {
    ++asked;
    CHECK(pass == &cases);
    const at::Tensor x = execution.tensor(in);
    if (kind == "before") {
      execution.set(in, x + bottleneck(x));
      execution.run_nodes(call.nodes);
      execution.set(in, x);
      return true;
    }
    execution.run_nodes(call.nodes);
    const at::Tensor y = execution.tensor(out);
    if (kind == "after") execution.set(out, y + bottleneck(y));
    if (kind == "parallel") execution.set(out, y + 4 * bottleneck(x));
    if (kind == "lora") execution.set(out, y + 4 * at::linear(at::linear(x, weight("lora_A")), weight("lora_B")));
    if (kind == "ia3") execution.set(out, y * weight("scale"));
    return true;
  });
  const at::Tensor output = Execution(cases.model.program, &cases, false).run(cases.inputs(one)).at(0);
  CHECK_EQ(asked, 1);
  const at::Tensor mask = cases.mask(one);
  CHECK_NEAR(distance_between(output * mask, cases.named(*one.find("expected"), "output") * mask), 0, 1e-5);
  (output * cases.named(one, "lossWeights")).sum().backward();
  const ta::Json& gradients = *one.find("expected")->find("gradients");
  for (const auto& [name, value] : trained) {
    const at::Tensor expected = cases.named(gradients, name.c_str());
    const double scale = std::max(1.0, expected.abs().max().item<double>());
    CHECK_NEAR(distance_between(value.grad(), expected) / scale, 0, 1e-5);
  }
  cases.model.program.clear_hooks();
}

// What a hook at one call of a module says by itself; the rest is the model's (exported_model_test.cc).
bool is_site(const Cases& cases, const ta::Json& one) {
  const std::string kind = one.find("kind")->as_string("kind");
  if (std::string(" after before parallel lora ia3 ").find(" " + kind + " ") == std::string::npos) return false;
  const Graph& graph = cases.model.program.graph();
  const int32_t module = graph.find_module(one.find("path")->as_string("path"));
  return module >= 0 && graph.modules[static_cast<std::size_t>(module)].calls.size() == 1;
}

}  // namespace

TEST(exported_models_agree_with_pytorch) {
  for (const std::string& name : check::exported_models()) {
    Cases cases(name);
    int forwards = 0, sites = 0;
    for (const ta::Json& one : cases.json.find("cases")->as_array("cases")) {
      const std::string kind = one.find("kind")->as_string("kind");
      if (is_site(cases, one)) run_site(cases, one), ++sites;
      if (kind != "forward") continue;
      const at::Tensor expected = cases.named(*one.find("expected"), "output");
      const at::Tensor mask = cases.mask(one);
      const at::Tensor recorded = cases.model.run(cases.inputs(one)).at(0);
      CHECK_NEAR(distance_between(recorded * mask, expected * mask), 0, 1e-5);
      const c10::InferenceMode inference;
      CHECK(at::equal(cases.model.run(cases.inputs(one)).at(0), recorded));
      ++forwards;
    }
    CHECK(forwards >= 4);
    CHECK(sites >= 4);
  }
}

TEST(exported_hooks_nest) {
  check::Exported model(check::exported_file("bert.pt2"));
  Program& program = model.program;
  const std::vector<at::Tensor> inputs = check::inputs_for(program.graph());
  const at::Tensor plain = model.run(inputs).at(0);
  std::string order;
  const auto hook = [&](const std::string& path, const std::string& name, bool runs) {
    const Range nodes = call_of(program.graph(), path).nodes;
    program.hook(nodes, [&order, nodes, name, runs](Execution& execution, const void*) {
      order += name;
      if (runs) execution.run_nodes(nodes);
      return runs;
    });
  };
  hook("encoder.layer.0.attention.self.query", "q", false);
  hook("encoder.layer.0", "L", true);
  hook("encoder.layer.0.attention", "a", false);
  // Another for one range stands around the one before.
  hook("encoder.layer.0.attention.self.query", "Q", true);
  hook("encoder.layer.1.output", "o", false);
  CHECK_EQ(program.hook_count(), 5u);
  CHECK(at::equal(model.run(inputs).at(0), plain));
  CHECK_EQ(order, std::string("LaQqo"));
  const Range first = call_of(program.graph(), "encoder.layer.0").nodes;
  CHECK_THROWS(ta::ErrorCode::invalid_argument,
               program.hook({first.first + 1, first.last + 1}, [](Execution&, const void*) { return false; }));
  program.clear_hooks();
  order.clear();
  CHECK(at::equal(model.run(inputs).at(0), plain));
  CHECK_EQ(order, std::string());
}

TEST(exported_parts_run_by_themselves) {
  const check::Exported model(check::exported_file("bert.pt2"));
  const Graph& graph = model.program.graph();
  const ModuleCall& call = call_of(graph, "encoder.layer.1.intermediate.dense");
  const at::Tensor x = check::counting({1, 3, 16}) * 0.01;
  Execution execution(model.program, nullptr, false);
  execution.set(input_of(graph, call), x);
  execution.run_nodes(call.nodes);
  const ta::StateDict& weights = model.archive.weights();
  const std::string path = "encoder.layer.1.intermediate.dense.";
  CHECK(at::equal(execution.tensor(output_of(graph, call)),
                  at::linear(x, weights.at(path + "weight"), weights.at(path + "bias"))));
}

// What depends on a batch's form alone is kept from run to run: a run among others gives the bits of one by itself.
TEST(exported_forms_are_computed_once) {
  for (const std::string& name : check::exported_models()) {
    check::Exported model(check::exported_file(name + ".pt2"));
    const Graph& graph = model.program.graph();
    const ta::exported::FormNodes form(graph);
    CHECK(std::count(form.nodes.begin(), form.nodes.end(), true) >= 6);
    const auto alone = [&](const std::vector<at::Tensor>& inputs) {
      return check::Exported(check::exported_file(name + ".pt2")).run(inputs).at(0);
    };
    auto inputs = check::inputs_for(graph);
    std::size_t mask = 0;
    for (std::size_t i = 0, user = 0; i < graph.inputs.size(); ++i) {
      if (graph.inputs[i].kind != Input::Kind::user) continue;
      if (graph.inputs[i].name == "attention_mask") mask = user;
      ++user;
    }
    CHECK_EQ(form.sources, std::vector<std::size_t>{mask});
    const auto same = [&] { CHECK(at::equal(model.run(inputs).at(0), alone(inputs))); };
    same();
    inputs[0] = (inputs[0] + 1) % 5;  // other tokens
    same();
    inputs[mask].select(1, -1).zero_();  // the same tensor, another mask
    same();
    same();
    for (auto& one : inputs) one = one.slice(1, 0, one.size(1) - 1).contiguous();
    same();
    for (const auto& [key, tensor] : model.archive.weights())
      const_cast<at::Tensor&>(tensor).set_requires_grad(tensor.is_floating_point());
    for (const bool training : {false, true}) {
      {
        // Its values cannot be part of a graph of autograd: another run's must not be these.
        const c10::InferenceMode inference;
        model.run(inputs, training);
      }
      model.run(inputs, training).at(0).sum().backward();
    }
    // A hook may ask for what stands in its range, also where a run before it did not compute it.
    bool asked = false;
    for (std::size_t i = 0; i < form.nodes.size() && !asked; ++i) {
      const int32_t node = static_cast<int32_t>(i);
      if (!form.nodes[i] || !graph.slots[static_cast<std::size_t>(graph.nodes[i].outputs.at(0))].is_tensor) continue;
      model.program.hook({node, node}, [&](Execution& execution, const void*) {
        execution.run_nodes({node, node});
        return asked = true;
      });
      same();
      CHECK(asked);
    }
  }
}

TEST(exported_inputs_are_checked) {
  const check::Exported model(check::exported_file("bert.pt2"));
  const auto inputs = [&] { return check::inputs_for(model.program.graph()); };
  const auto refused = [&](std::vector<at::Tensor> changed, ta::ErrorCode code) {
    return CHECK_THROWS(code, model.run(changed));
  };
  auto other = inputs();
  other[0] = other[0].to(at::kInt);
  CHECK(check::contains(refused(other, ta::ErrorCode::invalid_argument), "int32"));
  other = inputs();
  other[1] = at::ones({other[0].size(0), other[0].size(1) + 1}, at::kLong);
  refused(other, ta::ErrorCode::invalid_argument);
  other.pop_back();
  refused(other, ta::ErrorCode::invalid_argument);
  for (at::Tensor& one : other = inputs()) one = at::ones({2, 100000}, at::kLong);
  refused(other, ta::ErrorCode::out_of_range);
  // What only the operator sees is said with its name and its module.
  other = inputs();
  other[0] = at::full({other[0].size(0), other[0].size(1)}, 1000000, at::kLong);
  CHECK(check::contains(refused(other, ta::ErrorCode::invalid_argument), "embeddings.word_embeddings"));
}

TEST(exported_weights_are_taken_by_name) {
  check::Exported model(check::exported_file("bert.pt2"));
  const std::vector<at::Tensor> inputs = check::inputs_for(model.program.graph());
  const at::Tensor before = model.run(inputs).at(0);
  const check::TemporaryFolder folder;
  const std::string path = folder.file("w.safetensors");
  ta::write_safetensors(path, model.archive.weights().renamed([](const std::string& name) { return "bert." + name; }));
  const ta::StateDict weights = ta::read_safetensors(path);
  model.program.load(weights, "bert.");
  CHECK(at::equal(model.run(inputs).at(0), before));
  ta::StateDict other;
  for (const auto& [name, tensor] : weights) other.add(name, tensor * 2);
  model.program.load(other, "bert.");
  CHECK(!at::allclose(model.run(inputs).at(0), before));
  CHECK(check::contains(CHECK_THROWS(ta::ErrorCode::state_dict, model.program.load(weights)), "bert.embeddings"));
  ta::StateDict cut;
  for (const auto& [name, tensor] : weights) cut.add(name, tensor.size(0) > 1 ? tensor.slice(0, 0, 1) : tensor);
  CHECK_THROWS(ta::ErrorCode::state_dict, model.program.load(cut, "bert."));
}
