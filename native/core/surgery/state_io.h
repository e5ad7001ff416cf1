#pragma once
// Adapters and heads to and from files, under PyTorch's names. Loading is strict: missing, unexpected and mis-shaped
// keys are one error that lists them, and nothing has changed when it is thrown.

#include "core/state/key_names.h"
#include "core/state/weights_file.h"
#include "core/surgery/adapter_model.h"
#include "core/surgery/folded_linear.h"

namespace ta {

/// "safetensors" or "bin".
WeightsFormat parse_weights_format(const std::string& name);

void save_adapter(AdapterModel& model, const std::string& name, const std::string& file, WeightsFormat format,
                  KeyDialect dialect);
void save_head(AdapterModel& model, const std::string& name, const std::string& file, WeightsFormat format);
/// `from`: the name that the file uses. `file`: one of weights, or a model's folder, whose tensors may lie in several.
void load_adapter(AdapterModel& model, const std::string& name, const std::string& from, const std::string& file);
void save_fusion(AdapterModel& model, const std::string& name, const std::string& file, WeightsFormat format);
void load_fusion(AdapterModel& model, const std::string& name, const std::string& from, const std::string& file);
/// `layers`: for a file of a class with a head of its own, its modules (`classifier.dense`) and their index in our
/// head.
using HeadLayers = std::vector<std::pair<std::string, int64_t>>;
/// `folded`: those modules of `layers` that the file has as PEFT's adapter at a Linear of the model.
void load_head(AdapterModel& model, const std::string& name, const std::string& from, const std::string& file,
               const HeadLayers& layers = {}, const std::vector<FoldedLinear>& folded = {});
/// The backbone's parameters without prefix, as save_pretrained of the bare model names them.
void save_base(AdapterModel& model, const std::string& file, at::ScalarType dtype, WeightsFormat format);
/// The backbone with its prefix and the named parts among its tensors, as save_pretrained of a model with adapters
/// does.
struct WholeParts {
  std::vector<std::string> adapters, fusions, heads;
};
void save_whole(AdapterModel& model, const std::string& file, at::ScalarType dtype, const WholeParts& parts);

/// The same tensors in another format and dialect. `name`: the new name of the adapter or head that the file holds;
/// empty: the old one stays. `from`: the old one as a config has it; empty: it is not known. Throws ERR_STATE_DICT
/// where there is none to rename, or more than one.
void rewrite_weights(const std::string& source, const std::string& target, WeightsFormat format, KeyDialect dialect,
                     const std::string& from = "", const std::string& name = "");

/// Copies values into parameters by their names in named_parameters(). Throws ERR_STATE_DICT.
void set_parameters(AdapterModel& model, const StateDict& values);

}  // namespace ta
