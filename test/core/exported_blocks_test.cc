// Blocks of exported graphs that run as one call of the library: where they are, when they are taken, and that they
// give what their nodes give. Values and gradients beside PyTorch's are in exported_model_test.cc.
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/function.h>

#include <algorithm>
#include <limits>
#include <set>

#include "core/exported/attention_mask.h"
#include "core/exported/blocks.h"
#include "core/exported/exported_model.h"
#include "core/nn/rms_norm.h"
#include "core/nn/rotary.h"
#include "exported_archives.h"

namespace {

using ta::exported::Execution;
using ta::exported::ExportedModel;
using ta::exported::Graph;
using ta::exported::MaskForm;
using ta::exported::Program;
using ta::exported::Range;

struct Found {
  size_t attention, with_output, feed_forward, rms_norm, rotary;
  bool operator==(const Found&) const = default;
};

Found blocks_of(const std::string& name) {
  const check::Exported model(check::exported_file(name + ".pt2"));
  const Graph& graph = model.program.graph();
  const ta::exported::Weights weights(graph);
  Found found{0, 0, ta::exported::find_feed_forward_blocks(graph, weights).size(),
              ta::exported::find_rms_norm_blocks(graph, weights).size(),
              ta::exported::find_rotary_blocks(graph, weights).size()};
  for (const auto& block : ta::exported::find_attention_blocks(graph, weights)) {
    ++found.attention;
    found.with_output += block.output >= 0;
    CHECK_EQ(block.heads, 2);
    CHECK(block.nodes.first < block.nodes.last);
  }
  return found;
}

// Nodes of the autograd graph behind a value: all, or those of a kind.
size_t recorded(const at::Tensor& value, const std::string& kind = "") {
  std::set<const torch::autograd::Node*> seen;
  std::vector<const torch::autograd::Node*> open{value.grad_fn().get()};
  size_t count = 0;
  while (!open.empty()) {
    const auto* node = open.back();
    open.pop_back();
    if (node == nullptr || !seen.insert(node).second) continue;
    count += node->name().find(kind) != std::string::npos;
    for (const auto& edge : node->next_edges()) open.push_back(edge.function.get());
  }
  return count;
}

// A LayerNorm that is none of the library's for who asks, with the values of one that is.
class OtherNorm : public ta::TokenLayer {
 public:
  explicit OtherNorm(const ta::LayerNorm& norm) : norm_(norm) {}
  const char* type() const override { return "OtherNorm"; }
  at::Tensor forward(const at::Tensor& x) override {
    return at::layer_norm(x, {x.size(-1)}, norm_.weight, norm_.bias, norm_.eps);
  }

 private:
  const ta::LayerNorm& norm_;
};

ta::PackedBatch batch_of(const ExportedModel& model, const std::vector<int32_t>& lengths) {
  ta::BatchInput input;
  for (const int32_t length : lengths)
    for (int32_t i = 0; i < length; ++i) input.ids.push_back(3 + (7 * static_cast<int32_t>(input.ids.size())) % 20);
  input.row_lengths = lengths;
  model.prepare(input);
  return ta::PackedBatch::pack(input, at::kCPU);
}

at::Tensor states_of(ExportedModel& model, const std::vector<int32_t>& lengths) {
  const auto batch = batch_of(model, lengths);
  return model.encode(batch, ta::ForwardContext{&batch.layout}, {}).last;
}

}  // namespace

TEST(exported_blocks_are_found_by_structure) {
  CHECK(blocks_of("bert") == Found({2, 2, 2, 0, 0}));
  CHECK(blocks_of("vit") == Found({2, 2, 2, 0, 0}));
  CHECK(blocks_of("distilbert") == Found({2, 2, 2, 0, 0}));
  // Positions stand between the products and the heads; the feed-forward block has a gate.
  CHECK(blocks_of("llama") == Found({0, 0, 0, 5, 4}));
  // One product for query, key and value; an activation that is written out.
  CHECK(blocks_of("gpt2") == Found({0, 0, 0, 0, 0}));
}

TEST(exported_blocks_are_taken_where_rows_have_one_length) {
  const std::string path = check::exported_file("bert.pt2");
  ExportedModel model(path, at::kCPU);
  at::Tensor& words = *model.word_embeddings()->own_parameters()[0].value;
  words = words.clone().requires_grad_();
  const auto even = states_of(model, {5, 5}), uneven = states_of(model, {5, 4});
  CHECK(even.requires_grad());
  // The same rows, one of them cut: attention runs node by node.
  CHECK(recorded(even) * 3 < recorded(uneven) * 2);

  even.sum().backward();
  const auto gradient = words.grad().clone();
  words.mutable_grad() = at::Tensor();
  // The graph itself, without hooks.
  check::Exported plain(path);
  plain.program.bind("embeddings.word_embeddings.weight", &words);
  const auto batch = batch_of(model, {5, 5});
  std::vector<at::Tensor> inputs;
  for (const auto& input : plain.program.graph().inputs) {
    if (input.kind != ta::exported::Input::Kind::user) continue;
    if (input.name == "input_ids") inputs.push_back(batch.ids.view({2, 5}));
    if (input.name == "attention_mask") inputs.push_back(at::ones({2, 5}, at::kLong));
    if (input.name == "token_type_ids") inputs.push_back(at::zeros({2, 5}, at::kLong));
  }
  const auto expected = plain.run(inputs).at(0).view(even.sizes());
  CHECK_NEAR((even - expected).abs().max().item<double>(), 0, 1e-6);
  CHECK(recorded(even) * 2 < recorded(expected));
  expected.sum().backward();
  CHECK_NEAR((words.grad() - gradient).abs().max().item<double>(), 0, 1e-5);
}

TEST(exported_layers_are_the_library_s_own_nodes) {
  ExportedModel model(check::exported_file("bert.pt2"), at::kCPU);
  at::Tensor& words = *model.word_embeddings()->own_parameters()[0].value;
  words = words.clone().requires_grad_();
  // Two layers: of the graph itself the embeddings are left, and a view into the first layer.
  const auto check_nodes = [&](const at::Tensor& states, size_t sums) {
    CHECK_EQ(recorded(states, "AddNormNode"), sums);
    CHECK_EQ(recorded(states, "FeedForwardNode"), size_t{2});
    CHECK_EQ(recorded(states, "NativeLayerNormBackward"), 5 - sums);
  };
  const auto even = states_of(model, {5, 5}), uneven = states_of(model, {5, 4});
  check_nodes(even, 4);
  CHECK_EQ(recorded(even, "AttentionNode"), size_t{2});
  CHECK_EQ(recorded(even, "ViewBackward"), size_t{1});
  // Padding passes through all but the attention like a token.
  check_nodes(uneven, 4);
  CHECK_EQ(recorded(uneven, "AttentionNode"), size_t{0});

  // What surgery puts in a LayerNorm's place runs; the others stay as they are.
  ta::Module* output = nullptr;
  model.visit_modules("", [&](const std::string& path, const ta::Module& module) {
    if (path == "encoder.layer.0.output") output = const_cast<ta::Module*>(&module);
  });
  const auto& children = output->children();
  const auto found =
      std::find_if(children.begin(), children.end(), [](const auto& one) { return one.name == "LayerNorm"; });
  const auto own = std::static_pointer_cast<ta::LayerNorm>(found->module);
  output->occupy("LayerNorm", std::make_shared<OtherNorm>(*own));
  const auto replaced = states_of(model, {5, 5});
  check_nodes(replaced, 3);
  CHECK(at::equal(replaced, even));
  output->occupy("LayerNorm", own);
  check_nodes(states_of(model, {5, 5}), 4);
}

TEST(exported_sums_that_others_read_too_keep_their_layer_norms_apart) {
  ExportedModel model(check::exported_file("gpt2.pt2"), at::kCPU);
  at::Tensor& words = *model.word_embeddings()->own_parameters()[0].value;
  words = words.clone().requires_grad_();
  const auto states = states_of(model, {5, 5});
  CHECK_EQ(recorded(states, "AddNormNode"), size_t{0});
  CHECK_EQ(recorded(states, "NativeLayerNormBackward"), size_t{5});
}

TEST(exported_values_are_handed_on_packed) {
  check::Exported model(check::exported_file("bert.pt2"));
  Program& program = model.program;
  const Graph& graph = program.graph();
  const auto inputs = check::inputs_for(graph);
  const auto plain = model.run(inputs).at(0);
  const auto& dense = graph.modules[static_cast<size_t>(graph.find_module("encoder.layer.0.output.dense"))].calls.at(0);
  const int32_t out = graph.leaving(dense.nodes).at(0);
  const auto factor = at::ones({1}).requires_grad_();
  at::Tensor packed;
  bool has = false, in_part_without_gradients = false;
  program.hook(dense.nodes, [&](Execution& execution, const void*) {
    execution.run_nodes(dense.nodes);
    const auto value = execution.tensor(out);
    CHECK(!execution.packed(out).defined());
    packed = value.flatten(0, 1) * factor;
    execution.set_packed(out, packed, value.size(0), value.size(1));
    CHECK(execution.packed(out).is_same(packed));
    has = execution.has(out);
    if (in_part_without_gradients) {
      const at::NoGradGuard guard;
      CHECK(at::equal(execution.tensor(out), value));
    }
    return true;
  });
  // The next node is a dropout, which hands it on as it is; the sum behind that asks for its form.
  for (const bool without : {false, true}) {
    in_part_without_gradients = without;
    const auto states = model.run(inputs).at(0);
    CHECK(has && at::equal(states, plain));
    CHECK(states.requires_grad());
    states.sum().backward();
    CHECK(std::abs(factor.grad().item<double>()) > 0);
    factor.mutable_grad() = at::Tensor();
  }
}

TEST(rms_norm_is_its_formula) {
  for (const int64_t n : {3, 8, 29}) {
    const auto x = (check::counting({2, 5, n}) * 0.37).sin().requires_grad_();
    const auto weight = check::counting({n}).cos();
    const auto g = check::counting({2, 5, n}).cos();
    const auto expected = weight * (x * at::rsqrt(x.square().mean(-1, true) + 1e-6));
    expected.backward(g);
    const auto gradient = x.grad().clone();
    x.mutable_grad() = at::Tensor();
    const auto y = ta::frozen_rms_norm(x, weight, 1e-6);
    y.backward(g);
    CHECK_NEAR((y - expected).abs().max().item<double>(), 0, 1e-6);
    CHECK_NEAR((x.grad() - gradient).abs().max().item<double>(), 0, 1e-5);
    const at::NoGradGuard off;
    CHECK(at::equal(ta::frozen_rms_norm(x, weight, 1e-6), y));
  }
}

TEST(rotary_positions_are_their_formula) {
  const auto base = (check::counting({2, 5, 3, 6}) * 0.37).sin().requires_grad_();
  const auto x = base.transpose(1, 2);  // [2, 3, 5, 6], as a projection's heads lie
  const auto angle = check::counting({2, 1, 5, 6}) * 0.2;
  const auto cos = angle.cos(), sin = (angle + 1).sin();
  CHECK(ta::rotates(x, cos, sin));
  CHECK(!ta::rotates(x, cos.transpose(2, 3), sin) && !ta::rotates(x.narrow(3, 0, 5), cos, sin));
  CHECK(!ta::rotates(x, at::Tensor(cos).detach().requires_grad_(), sin));
  const auto turned = at::cat({-x.narrow(3, 3, 3), x.narrow(3, 0, 3)}, -1);
  const auto expected = x * cos + turned * sin;
  const auto g = check::counting({2, 3, 5, 6}).cos();
  expected.backward(g);
  const auto gradient = base.grad().clone();
  base.mutable_grad() = at::Tensor();
  const auto y = ta::rotate(x, cos, sin);
  CHECK(y.strides() == x.strides());
  y.backward(g);
  CHECK_NEAR((y - expected).abs().max().item<double>(), 0, 1e-6);
  CHECK_NEAR((base.grad() - gradient).abs().max().item<double>(), 0, 1e-6);
  const auto shared = ta::rotate(x, cos.narrow(0, 0, 1), sin.narrow(0, 0, 1));
  CHECK(at::equal(shared[0], y[0]) && !at::equal(shared[1], y[1]));
}

TEST(masks_that_say_nothing_or_only_what_a_flag_says) {
  const auto form = [](const at::Tensor& mask) { return ta::exported::form_of_mask(mask, 3); };
  const float lowest = std::numeric_limits<float>::lowest();
  const float never = -std::numeric_limits<float>::infinity();
  CHECK(form(at::zeros({2, 1, 3, 3})) == MaskForm::none);
  CHECK(form(at::ones({1, 1, 1, 3}, at::kBool).expand({4, 2, 3, 3})) == MaskForm::none);
  const auto seen = at::ones({3, 3}, at::kBool).tril().view({1, 1, 3, 3});
  CHECK(form(seen) == MaskForm::causal);
  for (const float hidden : {lowest, never})
    CHECK(form(at::zeros({1, 1, 3, 3}).masked_fill(seen.logical_not(), hidden)) == MaskForm::causal);
  // Padding, a window, a bias, one head of its own, a mask that learns.
  CHECK(form(at::zeros({2, 1, 3, 3}).index_fill(3, at::full({1}, 2, at::kLong), lowest)) == MaskForm::other);
  CHECK(form(at::ones({3, 3}, at::kBool).tril(1).view({1, 1, 3, 3})) == MaskForm::other);
  CHECK(form(at::full({1, 1, 3, 3}, -0.5)) == MaskForm::other);
  CHECK(form(at::ones({1, 1, 1, 3}, at::kBool).logical_not()) == MaskForm::other);
  auto heads = at::zeros({1, 2, 3, 3});
  heads[0][1][0][1].fill_(lowest);
  CHECK(form(heads) == MaskForm::other);
  CHECK(form(at::zeros({1, 1, 3, 3}).requires_grad_()) == MaskForm::other);
  CHECK(form(at::zeros({3, 3})) == MaskForm::other);
  CHECK(form(at::zeros({1, 1, 3, 4})) == MaskForm::other);
  CHECK(form(at::zeros({1, 1, 3, 3}, at::kDouble)) == MaskForm::other);
}

TEST(exported_shortcuts_cross_other_hooks) {
  check::Exported model(check::exported_file("bert.pt2"));
  Program& program = model.program;
  const Graph& graph = program.graph();
  const auto inputs = check::inputs_for(graph);
  const auto plain = model.run(inputs).at(0);
  const auto nodes_of = [&](const std::string& path) {
    return graph.modules[static_cast<size_t>(graph.find_module(path))].calls.at(0).nodes;
  };
  const Range output = nodes_of("encoder.layer.0.output");
  const Range block{nodes_of("encoder.layer.0.intermediate").first, output.first};
  std::string order;
  bool takes = true;
  program.shortcut(block, [&](Execution& execution, const void*) {
    order += takes ? 'B' : 'b';
    if (takes) execution.run_nodes(block);
    return takes;
  });
  const auto tell = [&](const std::string& path, char name) {
    program.hook(nodes_of(path), [&order, name](Execution&, const void*) {
      order += name;
      return false;
    });
  };
  tell("encoder.layer.0.output", 'o');
  tell("encoder.layer.0", 'L');
  tell("encoder.layer.0.intermediate.dense", 'd');
  CHECK(at::equal(model.run(inputs).at(0), plain));
  // Inside it those nested in it are asked; the module that it ends in is not.
  CHECK_EQ(order, std::string("LBd"));
  order.clear();
  takes = false;
  CHECK(at::equal(model.run(inputs).at(0), plain));
  CHECK_EQ(order, std::string("Lbdo"));
}

TEST(exported_runs_end_where_their_value_is_made) {
  check::Exported model(check::exported_file("bert.pt2"));
  const Graph& graph = model.program.graph();
  const auto inputs = check::inputs_for(graph);
  const auto all = model.run(inputs);
  const int32_t states = graph.outputs.at(0).slot;
  const Range pooler = graph.modules[static_cast<size_t>(graph.find_module("pooler"))].calls.at(0).nodes;
  int asked = 0;
  model.program.hook(pooler, [&](Execution&, const void*) { return ++asked < 0; });
  CHECK(at::equal(Execution(model.program, nullptr, false).run_to(states, inputs), all.at(0)));
  CHECK_EQ(asked, 0);
  // What stands around the node that makes it is asked as a whole.
  const int32_t last = graph.slots[static_cast<size_t>(states)].producer;
  model.program.hook({last, pooler.last}, [&](Execution&, const void*) { return ++asked < 0; });
  CHECK(at::equal(Execution(model.program, nullptr, false).run_to(states, inputs), all.at(0)));
  CHECK_EQ(asked, 2);
}
