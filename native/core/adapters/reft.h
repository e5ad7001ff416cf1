#pragma once
// ReFT (Wu et al. 2024, arXiv 2404.03592): after a layer, its output x of the first and the last tokens of every row is
// changed. x [positions, hidden], R [r, hidden], Ws [r, hidden], bs [r]:
//
//   F(x) = dropout(x + (act(x Wsᵀ + bs) − x Rᵀ) R)
// Without subtract_projection (DiReFT) the term x Rᵀ is left out; with orthogonality (LoReFT) R is an
// orthogonal_weight. There is one unit for the first tokens and one for the last, or one for both with tied_weights.
// Positions count a row's real tokens; a token that is among the first and the last is one of the last, as in the peer.
//
//   none       y = x
//   adapter    F at its positions
//   stack      Fn(… F1(x))
//   average    Σ wi Fi(x)
//   split, fuse  an error
// PyTorch keys (adapters), in each layer: reft_layer.refts.<name>.units.{0,1}.{learned_source.*, projection.weight}, or
// projection.parametrizations.weight.{original, 0.base}.

#include "core/adapters/orthogonal_weight.h"
#include "core/adapters/place.h"
#include "core/config/adapter_config.h"
#include "core/nn/activation.h"
#include "core/nn/linear.h"

namespace ta {

class ReftUnit : public Module {
 public:
  ReftUnit(const ReftConfig& config, int64_t hidden, int64_t rank);
  const char* type() const override { return "ReftUnit"; }
  at::Tensor forward(const at::Tensor& x, Random* random) const;
  void initialise(Random& random);

 private:
  std::shared_ptr<Linear> source_, projection_;
  std::shared_ptr<OrthogonalWeight> orthogonal_;  // in the projection's place
  std::shared_ptr<Activation> activation_;        // null: none
  bool subtracts_;
  double dropout_;
};

class ReftModule : public AdapterModule {
 public:
  ReftModule(const ReftConfig& config, int64_t hidden, int64_t rank);
  const char* type() const override { return "ReftModule"; }
  const char* why_not_fused() const override { return "changes hidden states of some tokens"; }
  bool needs_all_tokens() const override { return true; }
  void initialise(Random& random) override;
  /// x [tokens of rows, hidden] with its positions changed.
  at::Tensor forward(const at::Tensor& x, const RowLayout& rows, Random* random) const;

 private:
  int64_t first_, last_;
  std::vector<std::shared_ptr<ReftUnit>> units_;
};

/// The place after a layer: PyTorch's ModuleDict `refts`.
class ReftPlace : public AdapterPlace {
 public:
  at::Tensor forward(const at::Tensor& x, const ForwardContext& context) const;

 private:
  at::Tensor run(const Composition& setup, const at::Tensor& x, const RowLayout& rows, Random* random) const;
};

/// The module that holds a place: `reft_layer.refts`.
std::shared_ptr<Container> reft_layer(const std::shared_ptr<ReftPlace>& place);

}  // namespace ta
