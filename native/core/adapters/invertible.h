#pragma once
// Invertible adapters (MAD-X: Pfeiffer et al. 2020, arXiv 2005.00052): behind the embeddings, and backwards before the
// last layer of a head that predicts words. x [tokens, e] is halved, x1 its first ⌊e / 2⌋ numbers and x2 the others; F,
// G and S are networks W2 act(W1 x + b1) + b2, inner widths by inv_adapter_reduction_factor.
//
//   NICE (Dinh et al. 2014, arXiv 1410.8516)     y1 = x1 + F(x2)                 y2 = x2 + G(y1)
//   GLOW (Kingma and Dhariwal 2018, 1807.03039)  y1 = e(s2) ∘ x1 + t2            y2 = e(s1) ∘ x2 + t1
//        [s2 t2] = S2(x2), [s1 t1] = S1(y1),  e(s) = exp(0.636 · 5 atan(s / 5))
// Backwards the two lines are undone from the last to the first. The peer's GLOW cannot run: it cuts along the tokens,
// and forward it takes x1 and x2 themselves for s2 and t2, which its own inverse does not undo.
//
// PyTorch keys (adapters): invertible_adapters.<name>.{F, G}.{0, 2}.{weight, bias}, or {s1, s2} for GLOW.

#include "core/adapters/place.h"
#include "core/config/adapter_config.h"
#include "core/nn/activation.h"
#include "core/nn/linear.h"

namespace ta {

/// A coupling's inner network.
class CouplingNet : public Module {
 public:
  CouplingNet(int64_t in, int64_t inner, int64_t out, const std::string& activation);
  const char* type() const override { return "Sequential"; }
  at::Tensor forward(const at::Tensor& x) const { return last_->forward(activation_->forward(first_->forward(x))); }
  /// `adds_nothing`: its value is zero at first.
  void initialise(Random& random, bool adds_nothing);

 private:
  std::shared_ptr<Linear> first_, last_;
  std::shared_ptr<Activation> activation_;
};

class InvertibleAdapter : public AdapterModule {
 public:
  InvertibleAdapter(int64_t width, const BottleneckConfig& config);
  virtual at::Tensor forward(const at::Tensor& x) const = 0;
  virtual at::Tensor inverse(const at::Tensor& y) const = 0;
  void initialise(Random& random) override;

 protected:
  struct Halves {
    at::Tensor first, second;
  };
  Halves halves(const at::Tensor& x) const;
  void add(const std::string& name, std::shared_ptr<CouplingNet> net);

  int64_t first_, second_;  ///< widths
 private:
  bool starts_as_identity_;
  std::vector<std::shared_ptr<CouplingNet>> nets_;
};

std::shared_ptr<InvertibleAdapter> make_invertible(int64_t width, const BottleneckConfig& config);

/// `invertible_adapters` behind the embeddings. In a Stack each runs in turn; backwards the last comes first. (The peer
/// takes the first adapter of a setup and no other.)
class InvertiblePlace : public AdapterPlace {
 public:
  /// Throw ERR_UNSUPPORTED for a Fuse, Average or Split of adapters that stand here: a mean has no inverse, and what a
  /// token is depends on those before it.
  at::Tensor forward(const at::Tensor& x, const ForwardContext& context) const;
  at::Tensor inverse(const at::Tensor& y, const ForwardContext& context) const;

 private:
  at::Tensor run(const Composition& setup, const at::Tensor& x, bool backwards) const;
};

}  // namespace ta
