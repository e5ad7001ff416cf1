#include "core/adapters/lora_function.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "core/adapters/low_rank_terms.h"
#include "core/nn/gemm.h"
#include "core/nn/gradient.h"
#include "core/nn/node.h"

namespace ta {

namespace {

// A factor and where its gradient goes: to a buffer where it is a parameter, otherwise back through what it was made
// of.
struct Factor {
  explicit Factor(const at::Tensor& factor) : value(factor) {
    trains = needs_grad(factor);
    if (trains && factor.is_leaf()) buffer = gradient_of(factor);
  }
  at::Tensor value, buffer;
  bool trains = false;

  at::Tensor edge() const { return trains && !buffer.defined() ? value : at::Tensor(); }
  // What the gradient is added to; zeros where no buffer is.
  at::Tensor target() const {
    if (!trains) return {};
    return buffer.defined() ? buffer : at::zeros(value.sizes(), value.options());
  }
};

struct Term {
  Factor a, b;
  double scale;
  int64_t begin, count;
  bool thin = false;  // among those that are computed together, with z in a tensor of all of them
  at::Tensor z;       // x Aᵀ, where B trains

  int64_t rank() const { return a.value.size(0); }
  at::Tensor of(const at::Tensor& tokens) const { return tokens.narrow(0, begin, count); }
};

// Of more rows and of a higher rank a library's products are as fast.
bool is_thin(const Term& term, const at::Tensor& x, const at::Tensor& y) {
  constexpr int64_t kThin = 32;
  if (!thin::runs() || std::min(term.rank(), term.count) > kThin || term.rank() > LowRankTerms::kMostRank) return false;
  for (const auto* matrix : {&x, &y, &term.a.value, &term.b.value, &term.a.buffer, &term.b.buffer})
    if (matrix->defined() && !has_dense_floats(*matrix)) return false;
  return true;
}

// The thin ones. `z`: of all of them, one after the other.
LowRankTerms thin_terms(const std::vector<Term>& terms, int64_t in, int64_t out, const at::Tensor& z) {
  LowRankTerms all{in, out, {}};
  int64_t offset = 0;
  for (const auto& term : terms) {
    if (!term.thin) continue;
    all.each.push_back({term.begin, term.count, term.rank(), rows_of(term.a.value), rows_of(term.b.value),
                        static_cast<float>(term.scale), z.mutable_data_ptr<float>() + offset});
    offset += term.count * term.rank();
  }
  return all;
}

int64_t thin_numbers(const std::vector<Term>& terms) {
  int64_t numbers = 0;
  for (const auto& term : terms) numbers += term.thin ? term.count * term.rank() : 0;
  return numbers;
}

struct LoraNode : BackwardNode {
  at::Tensor x;  // where A or the weight trains
  at::Tensor weight, weight_grad, bias_grad;
  std::vector<Term> terms;
  at::Tensor z;  // of the thin terms

  // For x, and for A and B of each term.
  variable_list backward(const at::Tensor& g) override {
    if (weight_grad.defined()) add_product(weight_grad, g, x);
    add_sum(bias_grad, g);
    variable_list grads(1 + 2 * terms.size());
    if (should_compute_output(0)) grads[0] = times(g, weight);
    for (size_t i = 0; i < terms.size(); ++i)
      grads[1 + 2 * i] = terms[i].a.target(), grads[2 + 2 * i] = terms[i].b.target();
    if (z.defined()) add_thin(g, grads);
    for (size_t i = 0; i < terms.size(); ++i)
      if (!terms[i].thin) add_other(terms[i], g, grads[0], grads[1 + 2 * i], grads[2 + 2 * i]);
    // Buffers have theirs.
    for (size_t i = 0; i < terms.size(); ++i) {
      if (terms[i].a.buffer.defined()) grads[1 + 2 * i].reset();
      if (terms[i].b.buffer.defined()) grads[2 + 2 * i].reset();
    }
    return grads;
  }
  void release_variables() override {
    for (auto* tensor : {&x, &weight, &weight_grad, &bias_grad, &z}) tensor->reset();
    terms.clear();
  }

 private:
  void add_thin(const at::Tensor& g, const variable_list& grads) const {
    auto all = thin_terms(terms, weight.size(1), weight.size(0), z);
    const auto d_z = at::empty_like(z);
    auto* term = all.each.data();
    for (size_t i = 0; i < terms.size(); ++i) {
      if (!terms[i].thin) continue;
      const auto &d_a = grads[1 + 2 * i], &d_b = grads[2 + 2 * i];
      if (d_a.defined() || grads[0].defined()) {
        term->d_z = d_z.mutable_data_ptr<float>() + (term->z - z.const_data_ptr<float>());
      }
      if (d_a.defined()) term->d_a = rows_into(d_a);
      if (d_b.defined()) term->d_b = rows_into(d_b);
      ++term;
    }
    const auto d_x = grads[0].defined() ? rows_into(grads[0]) : thin::Output{};
    all.add_gradients(x.defined() ? rows_of(x) : thin::Matrix{}, rows_of(g), d_x);
  }

  void add_other(const Term& term, const at::Tensor& g, const at::Tensor& d_x, const at::Tensor& d_a,
                 const at::Tensor& d_b) const {
    const auto own = term.of(g);
    if (d_b.defined()) d_b.addmm_(own.t(), term.z, 1, term.scale);
    if (!d_a.defined() && !d_x.defined()) return;
    const auto d_z = at::mm(own, term.b.value);
    if (d_a.defined()) d_a.addmm_(d_z.t(), term.of(x), 1, term.scale);
    if (d_x.defined()) term.of(d_x).addmm_(d_z, term.a.value, 1, term.scale);
  }
};

}  // namespace

at::Tensor LinearTensors::tracked_matrix() const {
  const auto own = tracked(weight);
  return transposed ? own.t() : own;
}

at::Tensor LinearTensors::row_squares() const {
  if (squares.defined()) return squares;
  const auto own = tracked_matrix().to(at::kFloat);  // a bfloat16 trunk's, too
  const auto found = (own * own).sum(1);
  if (!needs_grad(weight)) squares = found;
  return found;
}

at::Tensor lora_linear(const at::Tensor& x, const LinearTensors& linear, const std::vector<LoraTerm>& terms) {
  const WithoutAutograd guard;
  const auto &weight = linear.weight, &bias = linear.bias;
  const auto matrix = linear.matrix();
  auto y = affine(x, matrix, bias);
  std::vector<Term> own;
  std::vector<at::Tensor> inputs{x};
  for (const auto& [factors, begin, count] : terms) {
    Term term{Factor(factors.a), Factor(factors.b), factors.scale, begin, count, false, {}};
    term.thin = is_thin(term, x, y);
    if (!term.thin) {
      term.z = at::mm(term.of(x), factors.a.t());
      term.of(y).addmm_(term.z, factors.b.t(), 1, factors.scale);
      if (!term.b.trains) term.z.reset();
    }
    inputs.push_back(term.a.edge());
    inputs.push_back(term.b.edge());
    own.push_back(std::move(term));
  }
  at::Tensor z;
  if (const int64_t numbers = thin_numbers(own); numbers > 0) {
    z = at::empty({numbers}, x.options());
    thin_terms(own, x.size(1), y.size(1), z).add(rows_of(x), rows_into(y));
  }
  const bool base_trains = needs_grad(weight) || (bias.defined() && needs_grad(bias));
  const bool trains = std::any_of(own.begin(), own.end(), [](const Term& t) { return t.a.trains || t.b.trains; });
  if (!needs_grad(x) && !base_trains && !trains) return y;
  auto node = make_node<LoraNode>();
  if (weight.requires_grad() || std::any_of(own.begin(), own.end(), [](const Term& t) { return t.a.trains; })) {
    node->x = x;
  }
  node->weight = matrix;
  node->weight_grad = gradient_of(weight);
  if (linear.transposed && node->weight_grad.defined()) node->weight_grad = node->weight_grad.t();
  node->bias_grad = gradient_of(bias);
  node->terms = std::move(own);
  node->z = z;
  return attach(y, node, inputs);
}

}  // namespace ta
