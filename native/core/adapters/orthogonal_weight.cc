#include "core/adapters/orthogonal_weight.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/geqrf.h>
#include <ATen/ops/linalg_householder_product.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/matrix_exp.h>
#include <ATen/ops/sign.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "core/nn/gradient.h"

namespace ta {

namespace {

// The orthonormal factor of A = Q R whose R has a positive diagonal.
at::Tensor orthonormal(const at::Tensor& a) {
  auto [x, tau] = at::geqrf(a);
  return at::linalg_householder_product(x, tau) * at::sign(x.diagonal(0, -2, -1)).unsqueeze(-2);
}

class Base : public Module {
 public:
  Base(at::Tensor& base, int64_t size) {
    parameter({.name = "base", .shape = {size, size}, .fixed = true, .buffer = true}, base);
  }
  const char* type() const override { return "_Orthogonal"; }
};

class Parametrized : public Module {
 public:
  Parametrized(at::Tensor& original, at::Tensor& base, int64_t rows, int64_t columns) {
    parameter({.name = "original", .shape = {rows, columns}}, original);
    child("0", std::make_shared<Base>(base, std::max(rows, columns)));
  }
  const char* type() const override { return "ParametrizationList"; }
};

}  // namespace

OrthogonalWeight::OrthogonalWeight(int64_t rows, int64_t columns) {
  auto list = std::make_shared<Container>("ModuleDict");
  list->add("weight", std::make_shared<Parametrized>(original_, base_, rows, columns));
  child("parametrizations", list);
}

at::Tensor OrthogonalWeight::value() const {
  return kept_.of({original_, base_}, [this]() -> KeptValues::Value { return {made()}; })[0];
}

at::Tensor OrthogonalWeight::made() const {
  auto x = tracked(original_);
  const bool transposed = x.size(0) < x.size(1);
  const bool square = x.size(0) == x.size(1);
  if (transposed) x = x.t();
  at::Tensor q;
  if (square) {
    const auto a = x.tril();
    q = at::matrix_exp(a - a.t());
  } else {
    const auto a = x.tril(-1);
    const auto tau = 2 / (1 + (a * a).sum(-2));
    q = at::linalg_householder_product(a, tau) * x.detach().diagonal(0, -2, -1).trunc().unsqueeze(-2);
  }
  q = at::matmul(base_, q);
  return transposed ? q.t() : q;
}

void OrthogonalWeight::start_with(const at::Tensor& weight, Random& random) {
  const c10::NoGradGuard guard;
  auto q = weight.size(0) < weight.size(1) ? weight.t() : weight;
  const int64_t n = q.size(0), k = q.size(1);
  if (n > k) {
    auto rest = at::empty({n, n - k}, q.options());
    q = at::cat({q, random.normal_(rest, 0, 1)}, 1);
  }
  base_.copy_(orthonormal(q));
  original_.zero_();
  original_.diagonal(0, -2, -1).fill_(-1);
}

}  // namespace ta
