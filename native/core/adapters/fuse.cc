#include "core/adapters/fuse.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros_like.h>

#include "core/adapters/fusion_scores.h"

namespace ta {

namespace {

using Kind = Composition::Kind;

const Bottleneck* last_here(const AdapterSite& site, const Composition& setup) {
  if (setup.kind == Kind::adapter) return site.at(setup.index);
  for (auto child = setup.children.rbegin(); child != setup.children.rend(); ++child)
    if (const auto* found = last_here(site, *child)) return found;
  return nullptr;
}

at::Tensor value_of(const UpProjection& u) {
  if (!u.weight.defined()) return u.z;
  auto value = at::matmul(u.z, u.weight.t()) + u.bias;
  return u.scale.defined() ? value * u.scale : value * u.factor;
}

class Reader {
 public:
  Reader(const SiteInput& site, const at::Tensor& h, const RowLayout& rows, const at::Tensor& x)
      : site_(site), h_(h), rows_(rows), x_(x) {}

  // Nothing for a child that does not stand here.
  std::optional<UpProjection> read(const Composition& child) const {
    if (child.kind == Kind::none) return UpProjection{at::zeros_like(h_), {}, {}, {}, 1};
    if (!site_.site.has_any(child)) return std::nullopt;
    switch (child.kind) {
      case Kind::adapter:
        return site_.site.at(child.index)->up_projection(x_, site_.context.with(rows_));
      case Kind::stack:
        return read_stack(child);
      case Kind::average:
        return read_average(child);
      default:
        return UpProjection{run_composition(site_, child, h_, rows_)->o - h_, {}, {}, {}, 1};
    }
  }

 private:
  // Those before the last run as they would alone; the last gives its up-projection of what they leave.
  std::optional<UpProjection> read_stack(const Composition& stack) const {
    std::vector<const Composition*> here;
    for (const auto& child : stack.children)
      if (site_.site.has_any(child)) here.push_back(&child);
    if (here.size() == 1) return read(*here[0]);
    auto o = h_;
    for (size_t i = 0; i + 1 < here.size(); ++i) o = run_composition(site_, *here[i], o, rows_)->o;
    const auto* last = here.back()->kind == Kind::adapter ? site_.site.at(here.back()->index) : nullptr;
    if (last == nullptr) return Reader(site_, o, rows_, x_).read(*here.back());
    return last->up_projection(last->enter(o, site_.residual_of(*last), site_.norm).x, site_.context.with(rows_));
  }

  std::optional<UpProjection> read_average(const Composition& average) const {
    at::Tensor sum = at::zeros_like(h_);
    for (size_t i = 0; i < average.children.size(); ++i)
      if (auto u = read(average.children[i])) sum = sum + value_of(*u) * average.weights[i];
    return UpProjection{sum, {}, {}, {}, 1};
  }

  const SiteInput& site_;
  const at::Tensor& h_;
  const RowLayout& rows_;
  const at::Tensor& x_;
};

// The children that stand here, where each is an adapter; none otherwise.
std::vector<const Bottleneck*> adapters_alone(const AdapterSite& site, const Composition& setup) {
  std::vector<const Bottleneck*> adapters;
  for (const auto& child : setup.children) {
    if (child.kind != Kind::adapter) return {};
    if (const auto* adapter = site.at(child.index)) adapters.push_back(adapter);
  }
  return adapters;
}

// Which children stand here: those that have a score.
std::vector<int64_t> numbers_here(const AdapterSite& site, const Composition& setup) {
  std::vector<int64_t> here;
  for (size_t i = 0; i < setup.children.size(); ++i)
    if (setup.children[i].kind == Kind::none || site.has_any(setup.children[i]))
      here.push_back(static_cast<int64_t>(i));
  return here;
}

void keep_scores(const SiteInput& site, const Composition& setup, const Fusion& fusion, const at::Tensor& p) {
  const auto options = at::TensorOptions(at::kLong).device(p.device());
  const auto tokens = site.tokens.defined() ? site.tokens + site.first_token
                                            : at::arange(site.first_token, site.first_token + p.size(0), options);
  site.context.fusion_scores->add(fusion, p, tokens, site.context.layout->tokens(), numbers_here(site.site, setup),
                                  static_cast<int64_t>(setup.children.size()));
}

}  // namespace

std::optional<Partial> fuse(const SiteInput& site, const Composition& setup, const at::Tensor& h,
                            const RowLayout& rows) {
  const auto* last = last_here(site.site, setup);
  const auto fusion = std::static_pointer_cast<Fusion>(site.site.fusions()->module(setup.index));
  if (last == nullptr || fusion == nullptr) return std::nullopt;
  const auto [x, rho] = last->enter(h, site.residual_of(*last), site.norm);
  const auto& q = fusion->config().query_before_ln && !last->config().is_parallel ? h : x;
  at::Tensor p;
  auto* scores = site.context.fusion_scores != nullptr ? &p : nullptr;
  auto context =
      site.context.random != nullptr ? at::Tensor() : fusion->folded(q, x, adapters_alone(site.site, setup), scores);
  if (!context.defined()) {
    const Reader reader(site, h, rows, x);
    std::vector<UpProjection> inputs;
    for (const auto& child : setup.children)
      if (auto u = reader.read(child)) inputs.push_back(std::move(*u));
    context = fusion->forward(q, inputs, rho, site.context.random, scores);
  }
  if (scores != nullptr) keep_scores(site, setup, *fusion, p);
  return Partial{fusion->config().residual_before ? context : context + rho, last->config().original_ln_after};
}

}  // namespace ta
