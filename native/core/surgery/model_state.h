#pragma once
// A whole model in one file under the names of a PyTorch class: `transformer.h.0.mlp.0.c_fc.weight` and
// `lm_head.weight` of a GPT2LMHeadModel after surgery. Which parameter is called what there is the caller's to say.

#include <string>
#include <vector>

#include "core/state/weights_file.h"
#include "core/surgery/adapter_model.h"

namespace ta {

/// A parameter's name in a file, and in named_parameters() or shared_names().
struct NameInFile {
  std::string theirs, ours;
};

/// The names that named_parameters() leaves out, because the tensor has another before: `theirs` of that one. Those of
/// persistent buffers stand for themselves.
std::vector<NameInFile> shared_names(AdapterModel& model);

/// A parameter of several names is in safetensors once, under the first of them, with the others in the metadata: the
/// form of transformers' save_pretrained and of safetensors.torch.save_model, whose load_model takes no other with
/// strict=True. In PyTorch's format it stands under each, and is in memory once, as torch.save(model.state_dict())
/// writes it.
void save_state(AdapterModel& model, const std::string& file, at::ScalarType dtype, WeightsFormat format,
                const std::vector<NameInFile>& names);

/// `names`: all that a file may have, several for one parameter; `required`: ours that must be there. `file`: one of
/// weights, or a model's folder. Strict: missing, unexpected and misshaped names are one error, and nothing has changed
/// then.
void load_state(AdapterModel& model, const std::string& file, const std::vector<NameInFile>& names,
                const std::vector<std::string>& required);

}  // namespace ta
