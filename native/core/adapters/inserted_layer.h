#pragma once
// A layer that surgery makes: it starts itself, and its parameters train as an adapter's do.

#include "core/error.h"
#include "core/nn/module.h"
#include "core/nn/random.h"

namespace ta {

/// At modules that do not know their sizes, such as activations, the first pass shows whether what stands there fits.
inline void require_features(const at::Tensor& x, const Layer& layer) {
  const auto wanted = layer.size().in;
  if (wanted == 0 || x.size(-1) == wanted) return;
  fail(ErrorCode::invalid_argument, "forward",
       "an adapter that surgery put into the model does not fit where it stands",
       {.expected = text(wanted, " features, its hiddenSize"),
        .got = text(x.size(-1)),
        .hint = text("Undo it, and give hiddenSize: ", x.size(-1))});
}

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
