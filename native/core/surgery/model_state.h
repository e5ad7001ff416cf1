#pragma once
// A whole model in one file under the names of a PyTorch class: `transformer.h.0.mlp.0.c_fc.weight` and
// `lm_head.weight` of a GPT2LMHeadModel after surgery. Which parameter is called what there is the caller's to say;
// nothing else is in the file, so that load_state_dict takes it with strict=True.

#include <string>
#include <vector>

#include "core/surgery/adapter_model.h"

namespace ta {

/// A parameter's name in a file, and in named_parameters() or shared_names().
struct NameInFile {
  std::string theirs, ours;
};

/// The names that named_parameters() leaves out, because the tensor has another before: `theirs` of that one.
std::vector<NameInFile> shared_names(AdapterModel& model);

/// One parameter may have several names, and is there under each, for `load_state_dict(load_file(…), strict=True)`.
/// Where surgery put one module into several places, every tensor is there once instead, its other names in the
/// metadata: the form of safetensors.torch.save_model, whose load_model takes no other with strict=True.
void save_state(AdapterModel& model, const std::string& file, at::ScalarType dtype,
                const std::vector<NameInFile>& names);

/// `names`: all that a file may have, several for one parameter; `required`: ours that must be there. `file`: one of
/// weights, or a model's folder. Strict: missing, unexpected and misshaped names are one error, and nothing has changed
/// then.
void load_state(AdapterModel& model, const std::string& file, const std::vector<NameInFile>& names,
                const std::vector<std::string>& required);

}  // namespace ta
