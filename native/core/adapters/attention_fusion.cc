#include "core/adapters/attention_fusion.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/stack.h>
#include <c10/core/GradMode.h>

#include <cmath>

#include "core/error.h"
#include "core/nn/gradient.h"
#include "core/nn/linear_start.h"

namespace ta {

namespace {

class MultiheadAttention : public Module {
 public:
  MultiheadAttention(int64_t hidden, at::Tensor& weight, at::Tensor& bias, std::shared_ptr<Linear> out) {
    parameter({.name = "in_proj_weight", .shape = {3 * hidden, hidden}, .init = Init::normal, .decay = true}, weight);
    parameter({.name = "in_proj_bias", .shape = {3 * hidden}, .init = Init::zeros}, bias);
    child("out_proj", std::move(out));
  }
  const char* type() const override { return "MultiheadAttention"; }
};

}  // namespace

AttentionFusion::AttentionFusion(int64_t adapters, int64_t hidden, int64_t heads)
    : hidden_(hidden), heads_(heads), out_(std::make_shared<Linear>(hidden, hidden)) {
  if (heads < 1 || hidden % heads != 0) {
    fail(ErrorCode::invalid_argument, "adapterFusion", "the heads share the hidden size",
         {.expected = "a number of heads that divides it", .got = text(heads, " heads for ", hidden)});
  }
  parameter({.name = "fusion_weights",
             .shape = {adapters},
             .init = Init::constant,
             .decay = true,
             .constant = 1.0 / static_cast<double>(adapters)},
            fusion_weights_);
  child("attention", std::make_shared<MultiheadAttention>(hidden, in_weight_, in_bias_, out_));
}

at::Tensor AttentionFusion::forward(const at::Tensor& base, const std::vector<at::Tensor>& outputs) {
  const auto n = static_cast<int64_t>(outputs.size());
  const int64_t tokens = base.size(0), e = hidden_ / heads_;
  const auto x = at::stack(outputs, 1);  // [tokens, n, hidden]
  const auto in_weight = tracked(in_weight_), in_bias = tracked(in_bias_), weights = tracked(fusion_weights_);

  const auto qk = at::linear(x, in_weight.narrow(0, 0, 2 * hidden_), in_bias.narrow(0, 0, 2 * hidden_))
                      .view({tokens, n, 2, heads_, e})
                      .permute({2, 0, 3, 1, 4});  // [2, tokens, heads, n, e]
  const auto scores = at::matmul(qk.select(0, 0), qk.select(0, 1).transpose(2, 3)) / std::sqrt(static_cast<double>(e));
  const auto attention = at::softmax(scores, -1);                  // [tokens, heads, n, n]
  const auto c = (attention * weights.view({1, 1, n, 1})).sum(2);  // [tokens, heads, n]
  const auto mixed = at::bmm(c, x).transpose(0, 1);                // [heads, tokens, hidden]
  const auto value_weight = in_weight.narrow(0, 2 * hidden_, hidden_).view({heads_, e, hidden_});
  const auto values = at::bmm(mixed, value_weight.transpose(1, 2));  // [heads, tokens, e]
  const auto total = weights.sum();
  const auto joined =
      values.transpose(0, 1).reshape({tokens, hidden_}) + total * in_bias.narrow(0, 2 * hidden_, hidden_);
  return base + linear(joined, out_->weight, at::Tensor()) + total * tracked(out_->bias);
}

void AttentionFusion::initialise(Random& random) {
  const c10::NoGradGuard guard;
  fusion_weights_.fill_(1.0 / static_cast<double>(fusion_weights_.size(0)));
  const double bound = std::sqrt(6.0 / static_cast<double>(4 * hidden_));  // Xavier's over [3·hidden, hidden]
  random.uniform_(in_weight_, -bound, bound);
  in_bias_.zero_();
  start_as_pytorch(*out_, random);
  out_->bias.zero_();
}

}  // namespace ta
