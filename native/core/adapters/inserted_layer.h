#pragma once
// A layer that surgery makes: it starts itself, and its parameters train as an adapter's do.

#include "core/nn/module.h"
#include "core/nn/random.h"

namespace ta {

class InsertedLayer : public Layer {
 public:
  /// First values of the parameters of this layer and those below it.
  virtual void initialise(Random& random) = 0;

  /// The tensors that it was made with: surgery may move others into it later.
  void keep_own() {
    visit_parameters("", [&](const std::string&, const Parameter& parameter) { own_.push_back(parameter.value); });
  }
  const std::vector<const at::Tensor*>& own() const { return own_; }

 private:
  std::vector<const at::Tensor*> own_;
};

}  // namespace ta
