#include "core/adapters/invertible.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/atan.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/exp.h>
#include <c10/core/GradMode.h>

#include "core/error.h"

namespace ta {

namespace {

constexpr double kClamp = 5;

at::Tensor log_scale(const at::Tensor& s) {
  return at::atan(s / kClamp) * (0.636 * kClamp);
}

class Nice : public InvertibleAdapter {
 public:
  Nice(int64_t width, const BottleneckConfig& config) : InvertibleAdapter(width, config) {
    const auto& c = *config.invertible;
    add("F", f_ = std::make_shared<CouplingNet>(second_, c.second_inner, first_, config.non_linearity));
    add("G", g_ = std::make_shared<CouplingNet>(first_, c.first_inner, second_, config.non_linearity));
  }
  const char* type() const override { return "NICECouplingBlock"; }

  at::Tensor forward(const at::Tensor& x) const override {
    const auto [x1, x2] = halves(x);
    const auto y1 = x1 + f_->forward(x2);
    return at::cat({y1, x2 + g_->forward(y1)}, 1);
  }
  at::Tensor inverse(const at::Tensor& y) const override {
    const auto [y1, y2] = halves(y);
    const auto x2 = y2 - g_->forward(y1);
    return at::cat({y1 - f_->forward(x2), x2}, 1);
  }

 private:
  std::shared_ptr<CouplingNet> f_, g_;
};

class Glow : public InvertibleAdapter {
 public:
  Glow(int64_t width, const BottleneckConfig& config) : InvertibleAdapter(width, config) {
    const auto& c = *config.invertible;
    add("s1", s1_ = std::make_shared<CouplingNet>(first_, c.first_inner, 2 * second_, config.non_linearity));
    add("s2", s2_ = std::make_shared<CouplingNet>(second_, c.second_inner, 2 * first_, config.non_linearity));
  }
  const char* type() const override { return "GLOWCouplingBlock"; }

  at::Tensor forward(const at::Tensor& x) const override {
    const auto [x1, x2] = halves(x);
    const auto y1 = scaled(x1, s2_->forward(x2));
    return at::cat({y1, scaled(x2, s1_->forward(y1))}, 1);
  }
  at::Tensor inverse(const at::Tensor& y) const override {
    const auto [y1, y2] = halves(y);
    const auto x2 = unscaled(y2, s1_->forward(y1));
    return at::cat({unscaled(y1, s2_->forward(x2)), x2}, 1);
  }

 private:
  // st [tokens, 2 n]: s beside t.
  static at::Tensor scaled(const at::Tensor& x, const at::Tensor& st) {
    const int64_t n = x.size(1);
    return x * at::exp(log_scale(st.narrow(1, 0, n))) + st.narrow(1, n, n);
  }
  static at::Tensor unscaled(const at::Tensor& y, const at::Tensor& st) {
    const int64_t n = y.size(1);
    return (y - st.narrow(1, n, n)) * at::exp(-log_scale(st.narrow(1, 0, n)));
  }

  std::shared_ptr<CouplingNet> s1_, s2_;
};

}  // namespace

CouplingNet::CouplingNet(int64_t in, int64_t inner, int64_t out, const std::string& activation)
    : first_(std::make_shared<Linear>(in, inner)),
      last_(std::make_shared<Linear>(inner, out)),
      activation_(std::make_shared<Activation>(activation)) {
  auto wrapper = std::make_shared<Container>("Activation_Function_Class");
  wrapper->add("f", activation_);
  child("0", first_);
  child("1", wrapper);
  child("2", last_);
}

void CouplingNet::initialise(Random& random, bool adds_nothing) {
  for (const auto& layer : {first_, last_}) {
    random.normal_(layer->weight, 0, 0.02);
    layer->bias.zero_();
  }
  if (adds_nothing) last_->weight.zero_();
}

InvertibleAdapter::InvertibleAdapter(int64_t width, const BottleneckConfig& config)
    : first_(width / 2),
      second_(width - width / 2),
      starts_as_identity_(config.init_weights == AdapterInit::mam_adapter ||
                          config.init_weights == AdapterInit::zeros) {}

InvertibleAdapter::Halves InvertibleAdapter::halves(const at::Tensor& x) const {
  return {x.narrow(1, 0, first_).contiguous(), x.narrow(1, first_, second_).contiguous()};
}

void InvertibleAdapter::add(const std::string& name, std::shared_ptr<CouplingNet> net) {
  nets_.push_back(net);
  child(name, std::move(net));
}

void InvertibleAdapter::initialise(Random& random) {
  c10::NoGradGuard guard;
  for (const auto& net : nets_) net->initialise(random, starts_as_identity_);
  visit_parameters("", [](const std::string&, const Parameter& parameter) {
    if (parameter.init == Init::constant) parameter.value->fill_(parameter.constant);
  });
}

std::shared_ptr<InvertibleAdapter> make_invertible(int64_t width, const BottleneckConfig& config) {
  if (config.invertible->glow) return std::make_shared<Glow>(width, config);
  return std::make_shared<Nice>(width, config);
}

at::Tensor InvertiblePlace::forward(const at::Tensor& x, const ForwardContext& context) const {
  return by_setup(x, context, [this](const Composition& setup, const at::Tensor& own, const ForwardContext&) {
    return run(setup, own, false);
  });
}

at::Tensor InvertiblePlace::inverse(const at::Tensor& y, const ForwardContext& context) const {
  return by_setup(y, context, [this](const Composition& setup, const at::Tensor& own, const ForwardContext&) {
    return run(setup, own, true);
  });
}

at::Tensor InvertiblePlace::run(const Composition& setup, const at::Tensor& x, bool backwards) const {
  if (!has_any(setup)) return x;
  if (setup.kind == Composition::Kind::adapter) {
    const auto& adapter = static_cast<const InvertibleAdapter&>(*module(setup.index));
    return backwards ? adapter.inverse(x) : adapter.forward(x);
  }
  if (setup.kind != Composition::Kind::stack) {
    fail(ErrorCode::unsupported, "forward", "adapters with an invertible part are neither fused, averaged nor split",
         {.expected = "one such adapter, or a Stack",
          .hint = "Put it in front of the block: Stack('language', Fuse('a', 'b'))"});
  }
  auto y = x;
  const auto count = setup.children.size();
  for (size_t i = 0; i < count; ++i) y = run(setup.children[backwards ? count - 1 - i : i], y, backwards);
  return y;
}

}  // namespace ta
