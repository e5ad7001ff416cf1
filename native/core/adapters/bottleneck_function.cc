#include "core/adapters/bottleneck_function.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/native_layer_norm.h>
#include <ATen/ops/native_layer_norm_backward.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <stdexcept>

#include "core/adapters/low_rank_terms.h"
#include "core/nn/gemm.h"
#include "core/nn/gradient.h"
#include "core/nn/node.h"

namespace ta {

namespace {

// What the node does, as flags that survive until the backward pass.
struct Form {
  bool parallel, norm_before, norm_after;
  ResidualBeforeLn residual;
  double scale;
  ActivationKind act;

  bool operator==(const Form&) const = default;
  // The residual that the adapter adds to is h, or h + r with the last LayerNorm.
  bool from_h() const { return parallel || residual == ResidualBeforeLn::yes || !norm_before; }
};

Form form_of(const Bottleneck& adapter) {
  const auto& c = adapter.config();
  return {c.is_parallel,       c.original_ln_before && !c.is_parallel,
          c.original_ln_after, c.residual_before_ln,
          c.scaling_value,     adapter.activation->kind()};
}

const Bottleneck& first_adapter(const std::vector<BottleneckPart>& parts) {
  for (const auto& part : parts)
    if (part.adapter != nullptr) return *part.adapter;
  throw std::logic_error("no adapter among the parts of a site");
}

struct Normed {
  at::Tensor y, mean, rstd;
};

Normed layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, double eps) {
  auto [y, mean, rstd] = at::native_layer_norm(x, {weight.size(0)}, weight, bias, eps);
  return {y, mean, rstd};
}

at::Tensor layer_norm_grad(const at::Tensor& grad, const at::Tensor& x, const at::Tensor& mean, const at::Tensor& rstd,
                           const at::Tensor& weight, const at::Tensor& bias) {
  return std::get<0>(
      at::native_layer_norm_backward(grad, x, {weight.size(0)}, mean, rstd, weight, bias, {true, false, false}));
}

// One adapter's tokens and what its backward pass reads.
struct Share {
  int64_t begin, tokens;
  const Linear *down, *up;  // in the forward pass alone
  at::Tensor inner;         // before the activation
  at::Tensor down_weight, up_weight;
  at::Tensor d_down_weight, d_down_bias, d_up_weight, d_up_bias;  // where gradients are added; undefined: frozen
};

struct Values {
  at::Tensor sum, mean1, rstd1;  // h + r and its LayerNorm's statistics, with norm_before
  at::Tensor x;                  // the adapters' input
  std::vector<Share> pieces;
  at::Tensor last, mean2, rstd2;  // before the last LayerNorm
  at::Tensor y;
};

// A piece's tokens of a tensor over all tokens.
at::Tensor of_piece(const at::Tensor& all, const Share& piece) {
  return piece.tokens == all.size(0) ? all : all.narrow(0, piece.begin, piece.tokens);
}

std::vector<Share> pieces_of_parts(const std::vector<BottleneckPart>& parts) {
  std::vector<Share> pieces;
  int64_t begin = 0;
  for (const auto& part : parts) {
    if (part.adapter != nullptr && part.tokens > 0) {
      const auto *down = part.adapter->down.get(), *up = part.adapter->up.get();
      pieces.push_back({begin,
                        part.tokens,
                        down,
                        up,
                        {},
                        down->weight,
                        up->weight,
                        gradient_of(down->weight),
                        gradient_of(down->bias),
                        gradient_of(up->weight),
                        gradient_of(up->bias)});
    }
    begin += part.tokens;
  }
  return pieces;
}

void add_one_by_one(Values& v, const at::Tensor& base, const Form& form) {
  for (auto& piece : v.pieces) {
    const auto &down = *piece.down, &up = *piece.up;
    piece.inner = affine(of_piece(v.x, piece), down.weight, down.bias);
    const bool all = piece.tokens == v.x.size(0);
    if (!v.last.defined()) v.last = all ? base.add(up.bias, form.scale) : base.clone();
    auto last = of_piece(v.last, piece);
    if (!all) last.add_(up.bias, form.scale);
    last.addmm_(activate(form.act, piece.inner), up.weight.t(), 1, form.scale);
  }
}

// So few each, or of so low a rank, that calls of a library cost as much as its products.
bool have_few_tokens(const std::vector<Share>& pieces, const at::Tensor& x, const at::Tensor& base) {
  constexpr int64_t kFewTokens = 64, kThin = 32;
  if (!thin::runs() || !has_dense_floats(x) || !has_dense_floats(base)) return false;
  return std::all_of(pieces.begin(), pieces.end(), [](const Share& piece) {
    const int64_t rank = piece.down_weight.size(0);
    return piece.tokens <= kFewTokens && std::min(piece.tokens, rank) <= kThin && rank <= LowRankTerms::kMostRank &&
           has_dense_floats(piece.down_weight) && has_dense_floats(piece.up_weight);
  });
}

// All of them in two calls, with one activation between.
void add_together(Values& v, const Form& form) {
  int64_t numbers = 0;
  for (const auto& piece : v.pieces) numbers += piece.tokens * piece.down_weight.size(0);
  const auto inner = at::empty({numbers}, v.x.options());
  LowRankTerms terms{v.x.size(1), v.last.size(1), {}};
  std::vector<at::Tensor> biases;
  int64_t offset = 0;
  for (auto& piece : v.pieces) {
    const int64_t size = piece.down_weight.size(0);
    piece.inner = inner.as_strided({piece.tokens, size}, {size, 1}, offset);
    biases.push_back(form.scale == 1 ? piece.up->bias : piece.up->bias * form.scale);
    terms.each.push_back({.begin = piece.begin,
                          .count = piece.tokens,
                          .rank = size,
                          .a = rows_of(piece.down_weight),
                          .b = rows_of(piece.up_weight),
                          .scale = 1,
                          .z = inner.mutable_data_ptr<float>() + offset,
                          .bias_a = piece.down->bias.const_data_ptr<float>(),
                          .bias_b = biases.back().const_data_ptr<float>()});
    offset += piece.tokens * size;
  }
  terms.down(rows_of(v.x));
  auto active = activate(form.act, inner);
  if (form.scale != 1) active = active * form.scale;
  for (auto& term : terms.each) term.z = active.mutable_data_ptr<float>() + (term.z - inner.const_data_ptr<float>());
  terms.up(rows_into(v.last));
}

Values compute(const at::Tensor& h, const at::Tensor& r, const Form& form, const std::vector<BottleneckPart>& parts,
               const LayerNorm& norm) {
  Values v;
  v.x = form.parallel ? r : h;
  if (form.norm_before) {
    v.sum = h + r;
    auto normed = layer_norm(v.sum, norm.weight, norm.bias, norm.eps);
    v.x = normed.y, v.mean1 = normed.mean, v.rstd1 = normed.rstd;
  }
  // The residual that the up-projections accumulate onto, with r where the last LayerNorm wants it.
  at::Tensor base;
  if (form.from_h()) {
    base = !form.norm_after ? h : v.sum.defined() ? v.sum : h + r;
  } else {
    const auto& rho = form.residual == ResidualBeforeLn::post_add ? v.sum : v.x;
    base = form.norm_after ? rho + r : rho;
  }
  v.pieces = pieces_of_parts(parts);
  if (v.pieces.empty()) {
    v.last = base;
  } else if (v.pieces.size() > 1 && have_few_tokens(v.pieces, v.x, base)) {
    v.last = base.clone();
    add_together(v, form);
  } else {
    add_one_by_one(v, base, form);
  }
  v.y = v.last;
  if (form.norm_after) {
    auto normed = layer_norm(v.last, norm.weight, norm.bias, norm.eps);
    v.y = normed.y, v.mean2 = normed.mean, v.rstd2 = normed.rstd;
  }
  return v;
}

struct BottleneckNode : BackwardNode {
  Form form{};
  at::Tensor input, mean1, rstd1;  // with norm_before the sum h + r, otherwise the adapters' input
  std::vector<Share> pieces;
  at::Tensor last, mean2, rstd2;
  at::Tensor norm_weight, norm_bias;
  double eps = 0;

  variable_list backward(const at::Tensor& g) override {
    auto d_last = form.norm_after ? layer_norm_grad(g, last, mean2, rstd2, norm_weight, norm_bias) : g;
    const bool wants_inputs = should_compute_output(0) || should_compute_output(1);
    bool trains_down = false;
    for (const auto& piece : pieces) trains_down = trains_down || piece.d_down_weight.defined();
    const auto x = trains_down && form.norm_before ? layer_norm(input, norm_weight, norm_bias, eps).y : input;
    const bool single = pieces.size() == 1 && pieces[0].tokens == g.size(0);
    at::Tensor d_x;
    if (wants_inputs && !single) d_x = at::zeros_like(d_last);
    for (auto& piece : pieces) {
      auto d_up = of_piece(d_last, piece);
      if (form.scale != 1.0) d_up = d_up * form.scale;
      if (piece.d_up_weight.defined()) add_product(piece.d_up_weight, d_up, activate(form.act, piece.inner));
      add_sum(piece.d_up_bias, d_up);
      auto d_inner = activate_backward(form.act, times(d_up, piece.up_weight), piece.inner);
      if (piece.d_down_weight.defined()) add_product(piece.d_down_weight, d_inner, of_piece(x, piece));
      add_sum(piece.d_down_bias, d_inner);
      if (!wants_inputs) continue;
      auto d_part = times(d_inner, piece.down_weight);
      if (single) {
        d_x = d_part;
      } else {
        of_piece(d_x, piece).copy_(d_part);
      }
    }
    if (!wants_inputs) return variable_list(2);
    return inputs(d_last, d_x);
  }

  // d_last: of the last sum; d_x: of the adapters' input. Both are this node's own.
  variable_list inputs(const at::Tensor& d_last, at::Tensor d_x) {
    at::Tensor after = form.norm_after ? d_last : at::Tensor();  // the share of r in the last sum
    if (form.parallel) return {d_last, after.defined() ? d_x.add_(after) : d_x};
    if (!form.norm_before) return {d_x.add_(d_last), after};
    if (form.residual == ResidualBeforeLn::no) d_x.add_(d_last);
    auto d_sum = layer_norm_grad(d_x, input, mean1, rstd1, norm_weight, norm_bias);
    if (form.residual == ResidualBeforeLn::post_add) d_sum.add_(d_last);
    const bool rho_is_h = form.residual == ResidualBeforeLn::yes;
    if (rho_is_h && after.defined()) {
      d_sum.add_(d_last);  // h and r stand in the same sums: one gradient for both
      return {d_sum, d_sum};
    }
    return {rho_is_h ? d_sum + d_last : d_sum, after.defined() ? d_sum + after : d_sum};
  }

  void release_variables() override {
    pieces.clear();
    for (auto* tensor : {&input, &mean1, &rstd1, &last, &mean2, &rstd2, &norm_weight, &norm_bias}) tensor->reset();
  }
};

}  // namespace

bool fit_together(const std::vector<BottleneckPart>& parts) {
  const Bottleneck* first = nullptr;
  bool null_rows = false;
  for (const auto& part : parts) {
    if (part.adapter == nullptr) {
      null_rows = true;
      continue;
    }
    if (!part.adapter->plain()) return false;
    if (first != nullptr && form_of(*part.adapter) != form_of(*first)) return false;
    if (first == nullptr) first = part.adapter;
  }
  if (first == nullptr) return false;
  // y = LN(h + r) must be what is left where nothing is added.
  const auto form = form_of(*first);
  return !null_rows || (form.norm_after && form.from_h());
}

at::Tensor bottleneck_site(const at::Tensor& h, const at::Tensor& r, const std::vector<BottleneckPart>& parts,
                           const LayerNorm& norm) {
  const WithoutAutograd guard;
  const auto form = form_of(first_adapter(parts));
  auto v = compute(h, r, form, parts, norm);
  bool trains = false;
  for (const auto& part : parts)
    trains = trains || (part.adapter != nullptr && !(part.adapter->down->frozen() && part.adapter->up->frozen()));
  if (!(trains && c10::GradMode::is_enabled()) && !needs_grad(h) && !needs_grad(r)) return v.y;
  auto node = make_node<BottleneckNode>();
  node->form = form;
  // With norm_before the input comes back from the sum; otherwise it is h or r, which live elsewhere anyway.
  node->input = form.norm_before ? v.sum : v.x;
  node->mean1 = v.mean1, node->rstd1 = v.rstd1, node->pieces = std::move(v.pieces);
  if (form.norm_after) node->last = v.last, node->mean2 = v.mean2, node->rstd2 = v.rstd2;
  node->norm_weight = norm.weight, node->norm_bias = norm.bias, node->eps = norm.eps;
  return attach(v.y, node, h, r);
}

}  // namespace ta
