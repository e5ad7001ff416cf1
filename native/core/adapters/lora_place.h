#pragma once
// The place at a Linear where LoRA and its kin stand: PyTorch's ModuleDict `loras`. For each row it evaluates what the
// batch asks for, with the value y of lora.h:
//
//   none       y = x Wᵀ + b
//   adapter    F(y)
//   stack      Fn(… F1(y)); a child that does not stand here is passed by
//   average    y + Σ wi (Fi(y) - y): y itself counts once, whatever the weights add up to. Of IA³ alone, which has no
//              other value than its product with y, Σ wi Fi(y)
//   split      each child on its part of every row's tokens
//   fuse       an error: AdapterFusion attends over bottlenecks
// All rows' products are one, with what is added to them in the same node (lora_function.h), whatever the rows and the
// blocks; outputs that are then scaled, by IA³ or DoRA, are scaled in one product, too.

#include "core/adapters/lora.h"

namespace ta {

class LoraPlace : public AdapterPlace, public LinearExtension {
 public:
  explicit LoraPlace(LinearLayer& linear) : linear_(linear) {}

  bool acts(const ForwardContext& context) const override;
  at::Tensor forward(const at::Tensor& x, const ForwardContext& context) override;

  /// The Linear is a part of the module at this path, which does more: what stands here acts on the value y of all of
  /// it.
  void act_on_whole(std::string path) { whole_ = std::move(path); }
  /// Its weight is the network's to compute, anew at every call: the tensor here has its sizes alone.
  void has_no_weight() { weightless_ = true; }
  bool weightless() const { return weightless_; }
  /// Empty: it is all that its module does.
  const std::string& whole() const { return whole_; }
  /// y [tokens, out] for x [tokens, in]
  at::Tensor on_whole(const at::Tensor& y, const at::Tensor& x, const ForwardContext& context) const;

  /// Whether what the setup has here must know which tokens are a row's: gates, and Split.
  bool reads_whole_rows(const Composition& setup) const;

  LoraModule* at(int64_t index) const { return static_cast<LoraModule*>(module(index).get()); }
  /// W [out, in], also while an adapter is merged into it.
  at::Tensor weight() const { return base().matrix(); }
  /// Puts one of its adapters into the Linear's tensors, which are new ones; the old ones are kept as they are.
  void merge(int64_t index);
  /// Takes it out again, bit for bit.
  void reset();
  /// Whether a tensor is one that reset() will replace.
  bool holds(const at::Tensor* tensor) const;

 private:
  struct Tokens {
    at::Tensor x;
    const RowLayout& rows;
    Random* random;
  };
  at::Tensor scaled(const at::Tensor& y, const std::vector<const LoraModule*>& modules,
                    const ForwardContext& context) const;
  at::Tensor apply(const Composition& setup, const at::Tensor& y, const Tokens& tokens) const;
  bool only_scales(const Composition& setup) const;
  at::Tensor average(const Composition& setup, const at::Tensor& y, const Tokens& tokens) const;
  at::Tensor split(const Composition& setup, const at::Tensor& y, const Tokens& tokens) const;
  bool add_terms(const Composition& setup, double factor, const LoraTerm& tokens, Random* random,
                 std::vector<LoraTerm>& terms) const;
  void check(const Composition& setup) const;
  LinearTensors now() const { return {linear_.weight, linear_.bias, linear_.transposed()}; }
  LinearTensors base() const { return merged_ < 0 ? now() : original_; }

  LinearLayer& linear_;
  LinearTensors original_;
  int64_t merged_ = -1;
  std::string whole_;
  bool weightless_ = false;
};

/// Gives a layer such a place, as its child `loras`.
template <class L>
std::shared_ptr<L> lora_ready(std::shared_ptr<L> layer) {
  auto place = std::make_shared<LoraPlace>(*layer);
  layer->extend("loras", place, *place);
  return layer;
}
/// A Linear with such a place.
std::shared_ptr<Linear> lora_ready_linear(int64_t in, int64_t out, bool with_bias = true);
/// The place at the Linear that stands in a slot, alone or inside of what surgery put there; null where there is none.
LoraPlace* lora_place(const Slot& slot);

}  // namespace ta
