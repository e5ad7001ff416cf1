// Nodes under torch.autocast against the same products written with conversions, of an archive of
// scripts/fixtures/exported_own.py: those in the region, those where it is off again, and what hooks see.
#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/linear.h>

#include "exported_archives.h"

namespace {

using ta::exported::Execution;
using ta::exported::Graph;
using ta::exported::Node;

int32_t slot_of(const Graph& graph, const std::string& name) {
  for (const auto& input : graph.inputs)
    if (input.name == name) return input.slot;
  throw std::runtime_error("no weight " + name);
}

struct Mixed {
  check::Exported model{"build/fixtures/exported-own/mixed.pt2"};
  const Graph& graph = model.program.graph();
  std::vector<at::Tensor> inputs{at::tensor({5, 9, 3, 11}, at::kLong).view({2, 2})};
  at::Tensor weight = model.archive.weights().at("block.up.weight"), bias = model.archive.weights().at("block.up.bias");

  at::Tensor value(int32_t slot) const { return Execution(model.program, nullptr, false).run_to(slot, inputs); }
  at::Tensor product(const at::Tensor& x, at::ScalarType type) const {
    return at::linear(x.to(type), weight.to(type), bias.to(type));
  }
  // Whether the thread runs products as they are.
  bool is_plain() const { return at::linear(weight, weight).scalar_type() == at::kFloat; }
  // The two products with the weight.
  const std::vector<int32_t>& users() const { return graph.slots[slot_of(graph, "block.up.weight")].users; }
};

TEST(exported_products_under_autocast_are_pytorchs) {
  const Mixed mixed;
  CHECK_EQ(mixed.users().size(), 2u);
  const Node& inside = mixed.graph.nodes[mixed.users()[0]];
  const Node& outside = mixed.graph.nodes[mixed.users()[1]];
  CHECK(inside.autocast == at::kBFloat16);
  CHECK(!outside.autocast);
  const auto half = mixed.value(inside.outputs[0]);
  CHECK(at::equal(half, mixed.product(mixed.value(inside.slot(0)), at::kBFloat16)));
  const auto full = mixed.value(outside.outputs[0]);
  CHECK(full.scalar_type() == at::kFloat);
  CHECK((full - mixed.product(mixed.value(outside.slot(0)), at::kFloat)).abs().max().item<double>() < 1e-6);
  CHECK(mixed.is_plain());
}

TEST(exported_gradients_under_autocast_are_pytorchs) {
  Mixed mixed;
  const Node& node = mixed.graph.nodes[mixed.users()[0]];
  auto& weight = const_cast<at::Tensor&>(mixed.model.archive.weights().at("block.up.weight"));
  const auto gradient = [&](const at::Tensor& y) {
    y.square().sum().backward();
    const auto result = weight.grad().clone();
    weight.mutable_grad().reset();
    return result;
  };
  const auto x = mixed.value(node.slot(0));
  weight.set_requires_grad(true);
  const auto ours = gradient(mixed.value(node.outputs[0]));
  CHECK(ours.scalar_type() == at::kFloat);
  CHECK(at::equal(ours, gradient(mixed.product(x, at::kBFloat16))));
  weight.set_requires_grad(false);
}

TEST(exported_hooks_run_outside_of_autocast) {
  Mixed mixed;
  const int32_t node = mixed.users()[0];
  int seen = 0;
  mixed.model.program.hook({node, node}, [&](Execution& execution, const void*) {
    seen += mixed.is_plain();
    execution.run_nodes({node, node});
    seen += mixed.is_plain();
    return seen == 2;
  });
  const auto half = mixed.value(mixed.graph.nodes[node].outputs[0]);
  CHECK_EQ(seen, 2);
  CHECK(half.scalar_type() == at::kBFloat16);
}

TEST(exported_failures_leave_no_mode_behind) {
  Mixed mixed;
  const int32_t inside = mixed.users()[0] + 1;
  CHECK(mixed.graph.nodes[inside].autocast == at::kBFloat16);
  mixed.model.program.hook({inside, inside}, [](Execution&, const void*) -> bool { throw std::runtime_error("no"); });
  CHECK_THROWS(ta::ErrorCode::invalid_argument, mixed.value(mixed.graph.nodes[inside].outputs[0]));
  CHECK(mixed.is_plain());
}

}  // namespace
