#pragma once
// Where adapters stand, and what stands there. In PyTorch's tree a place is the ModuleDict that holds its adapters by
// name; a batch finds them by index.

#include <functional>
#include <string>
#include <vector>

#include "core/nn/forward_context.h"
#include "core/nn/module.h"
#include "core/nn/random.h"

namespace ta {

/// One adapter's part at one place.
class AdapterModule : public Module {
 public:
  virtual void initialise(Random& random) = 0;
  /// It reads a whole row, so the last layer must not leave tokens out.
  virtual bool needs_all_tokens() const { return false; }
  /// What it does instead of giving values that AdapterFusion could attend over; null where it gives some.
  virtual const char* why_not_fused() const { return nullptr; }
};

class AdapterPlace : public Module {
 public:
  const char* type() const override { return "ModuleDict"; }

  void add(int64_t index, const std::string& name, std::shared_ptr<AdapterModule> module);
  void remove(int64_t index, const std::string& name);
  /// Null where this place has none of that index (a layer left out, another location).
  std::shared_ptr<AdapterModule> module(int64_t index) const {
    return index >= 0 && index < static_cast<int64_t>(modules_.size()) ? modules_[index] : nullptr;
  }
  /// Whether something that the setup names stands here.
  bool has_any(const Composition& setup) const;
  /// Whether a row of the batch passes through something that stands here.
  bool reaches(const ForwardContext& context) const;
  /// The name under which a module stands here.
  std::string name_of(int64_t index) const;

 protected:
  /// x [tokens, n] with `run` applied to each run of rows that a setup has something here for; the others as they are.
  using Run = std::function<at::Tensor(const Composition&, const at::Tensor&, const ForwardContext&)>;
  at::Tensor by_setup(const at::Tensor& x, const ForwardContext& context, const Run& run) const;

 private:
  std::vector<std::shared_ptr<AdapterModule>> modules_;
};

}  // namespace ta
