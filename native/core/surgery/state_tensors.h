#pragma once
// What files hold of a model's parts: tensors on the CPU under PyTorch's names.

#include "core/state/key_names.h"
#include "core/state/weights_file.h"
#include "core/surgery/adapter_model.h"

namespace ta {

/// An adapter on the last hidden state speaks the plain dialect alone: AdapterHub has none.
StateDict adapter_tensors(AdapterModel& model, const std::string& name, KeyDialect dialect);
StateDict fusion_tensors(AdapterModel& model, const std::string& name);
StateDict head_tensors(AdapterModel& model, const std::string& name);

/// Tensors of which some stand under several names.
struct SharedTensors {
  StateDict tensors;                                         ///< each once
  std::vector<std::pair<std::string, std::string>> aliases;  ///< another name → the one that is there

  /// safetensors has each once, and the other names point to it, as safetensors.torch.save_model writes and load_model
  /// reads them; a PyTorch checkpoint has every name.
  void write(const std::string& file, WeightsFormat format) const;
};
/// `prefix`: in front of every name.
SharedTensors base_tensors(AdapterModel& model, at::ScalarType dtype, const std::string& prefix);

/// The same tensors as `dialect` has them.
StateDict in_dialect(const std::string& operation, const StateDict& tensors, KeyDialect dialect);

}  // namespace ta
