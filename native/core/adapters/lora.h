#pragma once
// What stands at a Linear with frozen W [out, in] and b: LoRA (Hu et al. 2021, arXiv 2106.09685) and its kin. x
// [tokens, in] is what the Linear reads, y [tokens, out] its value so far: x Wᵀ + b, or what adapters before this one
// in a stack have made of it. s = alpha / r.
//
//   LoRA   F(y) = y + s B A dropout(x)                                     A [r, in], B [out, r]
//   VeRA   F(y) = y + s Λb B Λd A dropout(x)    Λ diagonal; A and B are random, frozen and one pair for all Linears
//          (Kopiczko et al. 2024, arXiv 2310.11454)                        d [r], b [out]
//   MTL    F(y) = y + s Σ pi Bi Λᵀ A dropout(x)    p = softmax(weights / sharpness), Λ the task's matrix
//          (Yang et al. 2024, arXiv 2410.09437)                            Bi [n, out, r], Λ [r] or [r, r], weights [n]
//   DoRA   F(y) = m / ‖W + B A‖ ∘ (y + s B A dropout(x))    the norm of each row, by any of the three ways to B A
//          (Liu et al. 2024, arXiv 2402.09353)                             m [out, 1]
//          as PEFT has it: F(y) = m / ‖W + s B A‖ ∘ (y - b + s B A dropout(x)) + b
//   IA³    F(y) = y ∘ alpha l  (Liu et al. 2022, arXiv 2205.05638)         l [out, 1]
//          on the input, as PEFT has it at the feed-forward block's second Linear:
//          F(y) = y + W ((alpha l - 1) ∘ x), which is W (alpha l ∘ x) + b where y is W x + b        l [1, in]
// With use_gating the mean of sigmoid(wg x + bg) over each row's tokens stands for s, and for alpha.
//
// As in the peer, DoRA's norm is of W + B A whatever s is (with alpha = r, the default, that is the paper's), gradients
// go through it, and b is scaled too; in PEFT's form none of the three is so. In a stack each is applied to what came
// before it: LoRAs add up, and the norm of a DoRA is always that of W with its own B A.
//
// PyTorch keys (adapters), below loras.<name>: lora_A, lora_B (IA³: lora_B alone, on the input
// lora_A alone), m.weight, gate.*; vera_D, vera_B,
// and shared_parameters.<name>.{lora_A, lora_B} beside the layers; weights, task_specific.values. At a Linear that
// holds several matrices, merged_parts.h says how those of each stand side by side; then MTL-LoRA's weights and task
// matrix are one for all of them.

#include <ATen/TensorOperators.h>

#include <optional>

#include "core/adapters/kept_values.h"
#include "core/adapters/lora_function.h"
#include "core/adapters/merged_parts.h"
#include "core/adapters/place.h"
#include "core/config/adapter_config.h"
#include "core/nn/linear.h"

namespace ta {

/// What a module stands at.
struct LoraTarget {
  at::Tensor weight;  ///< W [out, in]
  MergedParts parts;
  std::string whole;  ///< LoraPlace::whole()

  int64_t in() const { return weight.size(1); }
  /// Of each matrix.
  int64_t out() const { return parts.rows_of_each(weight.size(0)); }
  /// n r, n d
  int64_t inner(int64_t rank) const { return parts.count() * rank; }
  int64_t rows() const { return parts.count() * out(); }
};

/// F(y) = y ∘ factor + shift, of each output.
struct OutputScaling {
  at::Tensor factor;  ///< [out]
  at::Tensor shift;   ///< [out], or undefined: none
  at::Tensor of(const at::Tensor& y) const { return shift.defined() ? y * factor + shift : y * factor; }
};

class LoraModule : public AdapterModule {
 public:
  explicit LoraModule(MergedParts parts) : parts_(std::move(parts)) {}
  const char* why_not_fused() const override { return "changes weights"; }
  /// F(y). `rows` lays out exactly the tokens given.
  virtual at::Tensor apply(const at::Tensor& y, const at::Tensor& x, const LinearTensors& linear, const RowLayout& rows,
                           Random* random) const = 0;
  /// Whether F is a product with y, of which there is nothing else: IA³.
  virtual bool scales() const { return false; }
  /// The product that F adds to y, where it does no more than this and scaling().
  virtual std::optional<LowRank> added(Random*) const { return std::nullopt; }
  /// Whether all that F does behind added() is that each output is scaled, the same way for every token.
  virtual bool only_scales(Random*) const { return false; }
  virtual OutputScaling scaling(const LinearTensors&) const { return {}; }

  /// W as [out, in]. Only without a gate, whose value depends on the row.
  virtual LinearTensors merged(const LinearTensors& linear) const = 0;
  bool gated() const { return gate_ != nullptr; }
  const MergedParts& parts() const { return parts_; }
  /// The gate's mean needs every token of a row.
  bool needs_all_tokens() const override { return gated(); }

 protected:
  void add_gate(int64_t in);
  /// [tokens, 1], or [tokens, out] where each part has its own; 1 at others.
  at::Tensor gate(const at::Tensor& x, const RowLayout& rows, int64_t out) const;
  void initialise_gate(Random& random) const;

  MergedParts parts_;

 private:
  std::shared_ptr<Linear> gate_;
};

/// All that add a product of two factors: LoRA itself, with VeRA and MTL-LoRA below, and DoRA around each.
class LowRankModule : public LoraModule {
 public:
  at::Tensor apply(const at::Tensor& y, const at::Tensor& x, const LinearTensors& linear, const RowLayout& rows,
                   Random* random) const override;
  std::optional<LowRank> added(Random* random) const override;
  bool is_dora() const { return magnitude_ != nullptr; }
  bool only_scales(Random* random) const override { return is_dora() && adds(random); }
  OutputScaling scaling(const LinearTensors& linear) const override;
  LinearTensors merged(const LinearTensors& linear) const override;

 protected:
  LowRankModule(const LoraConfig& config, const LoraTarget& target);
  /// A and B: parameters, or made of some.
  virtual LowRank factors() const = 0;
  /// Of what the factors are made, those that stand elsewhere.
  virtual std::vector<at::Tensor> shared_parameters() const { return {}; }
  /// After the factors' own parameters, as in the peer.
  void add_magnitude_and_gate(const LoraTarget& target);
  double scale() const { return config_.alpha / static_cast<double>(config_.rank); }

  LoraConfig config_;

 private:
  /// Whether its product is the same for every token.
  bool adds(Random* random) const { return !gated() && (config_.dropout == 0 || random == nullptr); }
  /// The same for autograd's own operators.
  LowRank tracked_factors() const;
  OutputScaling made_scaling(const LinearTensors& linear) const;
  /// m / ‖…‖ for each output, 1 where the adapter does not stand.
  at::Tensor share(const at::Tensor& m, const at::Tensor& norms) const;

  std::shared_ptr<Linear> magnitude_;  // the peer's m: a Linear of one column
  mutable KeptValues kept_scaling_;
};

class Lora : public LowRankModule {
 public:
  Lora(const LoraConfig& config, const LoraTarget& target);
  const char* type() const override { return "LoRA"; }
  void initialise(Random& random) override;

 protected:
  LowRank factors() const override;

 private:
  at::Tensor a_, b_;
};

/// IA³ on what the Linear gives.
class Ia3 : public LoraModule {
 public:
  Ia3(const LoraConfig& config, const LoraTarget& target);
  const char* type() const override { return "IA3"; }
  bool scales() const override { return true; }
  bool only_scales(Random*) const override { return !gated(); }
  OutputScaling scaling(const LinearTensors& linear) const override;
  at::Tensor apply(const at::Tensor& y, const at::Tensor& x, const LinearTensors& linear, const RowLayout& rows,
                   Random* random) const override;
  LinearTensors merged(const LinearTensors& linear) const override;
  void initialise(Random& random) override;

 private:
  LoraConfig config_;
  at::Tensor l_;
};

/// IA³ on what the whole Linear reads.
class InputIa3 : public LoraModule {
 public:
  InputIa3(const LoraConfig& config, const at::Tensor& weight);
  const char* type() const override { return "IA3"; }
  bool scales() const override { return true; }
  at::Tensor apply(const at::Tensor& y, const at::Tensor& x, const LinearTensors& linear, const RowLayout& rows,
                   Random* random) const override;
  LinearTensors merged(const LinearTensors& linear) const override;
  void initialise(Random& random) override;

 private:
  LoraConfig config_;
  at::Tensor l_;
};

/// First values of a factor, as the peer's init_weights has them.
void initialise_factor(at::Tensor& factor, LoraInit init, bool is_b, Random& random);

}  // namespace ta
