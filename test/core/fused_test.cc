// The fused nodes against the plain modules that they stand for: values and gradients, small (MKL) and large (oneDNN),
// rows of uneven lengths, first tokens alone.
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <cmath>

#include "check.h"
#include "core/adapters/bottleneck_function.h"
#include "core/adapters/flat_parameters.h"
#include "core/models/initialise.h"
#include "core/nn/attention.h"
#include "core/nn/conv1d.h"
#include "core/nn/frozen.h"
#include "core/nn/gemm.h"

namespace {

using namespace ta;

at::Tensor random_tensor(Random& random, at::IntArrayRef shape) {
  auto tensor = at::empty(shape, at::TensorOptions(at::kFloat));
  return random.normal_(tensor, 0, 1);
}

// Every parameter random, so that no bias and no LayerNorm is the identity.
template <class M>
std::shared_ptr<M> with_values(std::shared_ptr<M> module, Random& random) {
  initialise_missing(*module, "", 0.05, random, at::kCPU);
  module->visit_parameters("", [&](const std::string&, const Parameter& parameter) {
    auto noise = random_tensor(random, parameter.shape);
    parameter.value->add_(noise, 0.05);
  });
  return module;
}

struct Case {
  int64_t hidden;
  std::vector<int64_t> lengths;
};
const std::vector<Case> kCases = {{32, {1}}, {32, {5, 5, 5}}, {32, {1, 2, 2, 7}}, {256, {40, 40, 64}}};

double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).abs().max().item<double>() / (1.0 + b.abs().max().item<double>());
}

// Runs both forms on copies of the inputs; compares results and the gradients of `inputs` and `parameters`.
void compare(const std::vector<at::Tensor>& inputs, const std::vector<at::Tensor*>& parameters, Random& random,
             const std::function<at::Tensor(const std::vector<at::Tensor>&)>& fused,
             const std::function<at::Tensor(const std::vector<at::Tensor>&)>& plain) {
  std::vector<std::vector<at::Tensor>> grads;
  std::vector<at::Tensor> results;
  at::Tensor weights;
  for (const auto& form : {fused, plain}) {
    std::vector<at::Tensor> leaves;
    for (const auto& input : inputs) leaves.push_back(input.detach().clone().requires_grad_(true));
    for (auto* parameter : parameters) parameter->mutable_grad() = at::zeros_like(*parameter);
    auto result = form(leaves);
    if (!weights.defined()) weights = random_tensor(random, result.sizes());
    (result * weights).sum().backward();
    results.push_back(result.detach());
    auto& collected = grads.emplace_back();
    for (const auto& leaf : leaves) collected.push_back(leaf.grad().defined() ? leaf.grad() : at::zeros(leaf.sizes()));
    for (auto* parameter : parameters) collected.push_back(parameter->grad());
  }
  CHECK(largest_difference(results[0], results[1]) < 2e-6);
  for (size_t i = 0; i < grads[0].size(); ++i) CHECK(largest_difference(grads[0][i], grads[1][i]) < 5e-6);
}

}  // namespace

TEST(attention_of_frozen_weights_is_the_plain_one) {
  Random random(7);
  for (const auto& c : kCases) {
    RowLayout rows(c.lengths);
    auto layer = [&] { return with_values(std::make_shared<Linear>(c.hidden, c.hidden), random); };
    auto q = layer(), k = layer(), v = layer(), o = layer();
    const AttentionWeights weights{*q, *k, *v, *o};
    auto x = random_tensor(random, {rows.tokens(), c.hidden});
    compare(
        {x}, {}, random, [&](const auto& in) { return frozen_attention(in[0], in[0], weights, rows, rows, 4); },
        [&](const auto& in) {
          auto context =
              packed_attention(q->forward(in[0]), k->forward(in[0]), v->forward(in[0]), rows, rows, 4, 0, nullptr);
          return o->forward(context);
        });
    // Queries for each row's first token alone.
    const auto single = RowLayout::single(rows.rows());
    auto first = random_tensor(random, {rows.rows(), c.hidden});
    compare(
        {first, x}, {}, random,
        [&](const auto& in) { return frozen_attention(in[0], in[1], weights, single, rows, 4); },
        [&](const auto& in) {
          auto context =
              packed_attention(q->forward(in[0]), k->forward(in[1]), v->forward(in[1]), single, rows, 4, 0, nullptr);
          return o->forward(context);
        });
  }
}

namespace {

// Attention row by row from the formula; each token sees itself and those before it.
at::Tensor causal_by_hand(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const RowLayout& rows,
                          int64_t heads) {
  std::vector<at::Tensor> result;
  for (int64_t row = 0; row < rows.rows(); ++row) {
    const int64_t length = rows.length(row);
    auto cut = [&](const at::Tensor& x) {
      return x.narrow(0, rows.starts()[row], length).view({length, heads, -1}).transpose(0, 1);
    };
    auto scores = at::matmul(cut(q), cut(k).transpose(1, 2)) / std::sqrt(static_cast<double>(q.size(1) / heads));
    auto later = at::ones({length, length}, at::kBool).triu(1);
    auto p = at::softmax(scores.masked_fill(later, -INFINITY), -1);
    result.push_back(at::matmul(p, cut(v)).transpose(0, 1).reshape({length, q.size(1)}));
  }
  return at::cat(result);
}

}  // namespace

TEST(causal_attention_of_frozen_merged_weights_is_the_formula) {
  Random random(11);
  for (const auto& c : kCases) {
    RowLayout rows(c.lengths);
    const int64_t d = c.hidden, last = rows.rows();
    auto merged = with_values(std::make_shared<Conv1D>(d, 3 * d), random);
    auto out = with_values(std::make_shared<Conv1D>(d, d), random);
    auto part = [&](int64_t i) {
      return Affine(merged->weight.narrow(1, i * d, d).t(), merged->bias.narrow(0, i * d, d));
    };
    const AttentionWeights weights{part(0), part(1), part(2), Affine(out->weight.t(), out->bias)};
    auto by_hand = [&](const at::Tensor& x) {
      auto all = x.matmul(merged->weight) + merged->bias;
      auto h = causal_by_hand(all.narrow(1, 0, d), all.narrow(1, d, d), all.narrow(1, 2 * d, d), rows, 4);
      return h.matmul(out->weight) + out->bias;
    };
    auto x = random_tensor(random, {rows.tokens(), d});
    compare(
        {x}, {}, random,
        [&](const auto& in) {
          return frozen_attention(in[0], in[0], weights, rows, rows, {4, true});
        },
        [&](const auto& in) { return by_hand(in[0]); });
    // The plain modules with a graph, and with attention dropout that drops next to nothing.
    for (double p : {0.0, 1e-9}) {
      compare(
          {x}, {}, random,
          [&](const auto& in) {
            auto all = merged->forward(in[0]);
            auto h = packed_attention(all.narrow(1, 0, d), all.narrow(1, d, d), all.narrow(1, 2 * d, d), rows, rows,
                                      {4, true}, p, &random);
            return out->forward(h);
          },
          [&](const auto& in) { return by_hand(in[0]); });
    }
    // Each row's last token alone asks.
    std::vector<int64_t> ends;
    for (int64_t row = 0; row < last; ++row) ends.push_back(rows.starts()[row + 1] - 1);
    auto index = at::tensor(ends, at::TensorOptions(at::kLong));
    const auto single = RowLayout::single(last);
    compare(
        {x}, {}, random,
        [&](const auto& in) {
          return frozen_attention(in[0].index_select(0, index), in[0], weights, single, rows, {4, true});
        },
        [&](const auto& in) { return by_hand(in[0]).index_select(0, index); });
  }
}

TEST(a_trainable_conv1d_gives_the_gradients_of_the_plain_product) {
  Random random(12);
  for (int64_t tokens : {3, 128}) {
    auto layer = with_values(std::make_shared<Conv1D>(256, 512), random);
    layer->weight.requires_grad_(true);
    layer->bias.requires_grad_(true);
    auto x = random_tensor(random, {tokens, 256});
    compare(
        {x}, {&layer->weight, &layer->bias}, random, [&](const auto& v) { return layer->forward(v[0]); },
        [&](const auto& v) { return v[0].matmul(layer->weight) + layer->bias; });
  }
}

TEST(feed_forward_and_norm_of_frozen_weights_are_the_plain_ones) {
  Random random(8);
  for (const auto& c : kCases) {
    const int64_t tokens = RowLayout(c.lengths).tokens();
    auto in = with_values(std::make_shared<Linear>(c.hidden, 4 * c.hidden), random);
    auto out = with_values(std::make_shared<Linear>(4 * c.hidden, c.hidden), random);
    auto norm = with_values(std::make_shared<LayerNorm>(c.hidden), random);
    auto x = random_tensor(random, {tokens, c.hidden}), r = random_tensor(random, {tokens, c.hidden});
    for (const char* name : {"gelu", "gelu_new", "relu", "silu", "sigmoid", "tanh", "linear"}) {
      Activation act(name);
      compare(
          {x}, {}, random, [&](const auto& v) { return frozen_feed_forward(v[0], *in, act.kind(), *out); },
          [&](const auto& v) { return out->forward(act.forward(in->forward(v[0]))); });
    }
    compare(
        {x, r}, {}, random, [&](const auto& v) { return add_norm(v[0], v[1], *norm); },
        [&](const auto& v) { return norm->forward(v[0] + v[1]); });
  }
}

// Tokens of several adapters, of none, and of the first one again.
TEST(bottlenecks_of_one_form_in_one_node_are_the_modules) {
  Random random(21);
  for (const auto& c : kCases) {
    RowLayout rows(c.lengths);
    const int64_t tokens = rows.tokens();
    auto norm = with_values(std::make_shared<LayerNorm>(c.hidden), random);
    auto h = random_tensor(random, {tokens, c.hidden}), r = random_tensor(random, {tokens, c.hidden});
    for (int flags = 0; flags < 4; ++flags) {
      BottleneckConfig config;
      config.is_parallel = flags == 3;
      config.original_ln_before = (flags & 1) != 0;
      config.scaling_value = flags == 2 ? 0.5 : 1.0;
      auto a = with_values(std::make_shared<Bottleneck>(c.hidden, 8, config), random);
      auto b = with_values(std::make_shared<Bottleneck>(c.hidden, 3, config), random);
      std::vector<at::Tensor*> trained;
      for (const auto& adapter : {a, b}) {
        for (auto* parameter :
             {&adapter->down->weight, &adapter->down->bias, &adapter->up->weight, &adapter->up->bias}) {
          parameter->requires_grad_(true);
          trained.push_back(parameter);
        }
      }
      const std::vector<int64_t> sizes = {tokens / 4, 0, tokens / 3, tokens - tokens / 4 - tokens / 3};
      const std::vector<BottleneckPart> parts = {
          {sizes[0], a.get()}, {sizes[1], b.get()}, {sizes[2], nullptr}, {sizes[3], b.get()}};
      CHECK(fit_together(parts));
      compare(
          {h, r}, trained, random, [&](const auto& v) { return bottleneck_site(v[0], v[1], parts, *norm); },
          [&](const auto& v) {
            std::vector<at::Tensor> values;
            int64_t begin = 0;
            for (const auto& part : parts) {
              auto x = v[0].narrow(0, begin, part.tokens), y = v[1].narrow(0, begin, part.tokens);
              begin += part.tokens;
              if (part.adapter == nullptr) {
                values.push_back(norm->forward(x + y));
              } else if (part.tokens > 0) {
                const RowLayout all({part.tokens});
                values.push_back(norm->forward(part.adapter->forward(x, y, norm.get(), ForwardContext{&all}) + y));
              }
            }
            return at::cat(values);
          });
    }
  }
}

TEST(what_does_not_fit_together) {
  BottleneckConfig plain, gated, other, no_norm;
  gated.use_gating = true;
  other.scaling_value = 2;
  no_norm.original_ln_after = false;
  Bottleneck a(8, 2, plain), b(8, 4, plain), c(8, 2, gated), d(8, 2, other), e(8, 2, no_norm);
  CHECK(fit_together({{1, &a}, {2, nullptr}, {3, &b}}));
  CHECK(fit_together({{1, &e}}));
  CHECK(!fit_together({{1, nullptr}}));
  CHECK(!fit_together({{1, &a}, {1, &c}}));
  CHECK(!fit_together({{1, &a}, {1, &d}}));
  CHECK(!fit_together({{1, &e}, {1, nullptr}}));
}

TEST(a_plain_bottleneck_in_one_node_is_the_module) {
  Random random(9);
  for (const auto& c : kCases) {
    RowLayout rows(c.lengths);
    auto norm = with_values(std::make_shared<LayerNorm>(c.hidden), random);
    auto h = random_tensor(random, {rows.tokens(), c.hidden}), r = random_tensor(random, {rows.tokens(), c.hidden});
    for (int flags = 0; flags < 8; ++flags) {
      for (auto residual : {ResidualBeforeLn::yes, ResidualBeforeLn::no, ResidualBeforeLn::post_add}) {
        BottleneckConfig config;
        config.is_parallel = (flags & 1) != 0;
        config.original_ln_before = (flags & 2) != 0;
        config.original_ln_after = (flags & 4) != 0;
        config.residual_before_ln = residual;
        config.scaling_value = flags % 3 == 0 ? 1.0 : 2.5;
        config.non_linearity = flags % 2 == 0 ? "relu" : "gelu";
        auto adapter = with_values(std::make_shared<Bottleneck>(c.hidden, 8, config), random);
        CHECK(adapter->plain());
        std::vector<at::Tensor*> trained = {&adapter->down->weight, &adapter->down->bias, &adapter->up->weight,
                                            &adapter->up->bias};
        for (auto* parameter : trained) parameter->requires_grad_(true);
        compare(
            {h, r}, trained, random,
            [&](const auto& v) {
              return bottleneck_site(v[0], v[1], {{v[0].size(0), adapter.get()}}, *norm);
            },
            [&](const auto& v) {
              auto o = adapter->forward(v[0], v[1], norm.get(), ForwardContext{&rows});
              return config.original_ln_after ? norm->forward(o + v[1]) : o;
            });
      }
    }
  }
}

TEST(a_large_trainable_linear_gives_the_gradients_of_the_plain_product) {
  Random random(10);
  auto linear = with_values(std::make_shared<Linear>(256, 512), random);
  linear->weight.requires_grad_(true);
  linear->bias.requires_grad_(true);
  auto x = random_tensor(random, {128, 256});
  compare(
      {x}, {&linear->weight, &linear->bias}, random, [&](const auto& v) { return linear->forward(v[0]); },
      [&](const auto& v) { return v[0].matmul(linear->weight.t()) + linear->bias; });
}
