// Weights from a path, whatever the format: the content decides, not the extension.
#pragma once

#include <string>

#include "core/state/state_dict.h"

namespace ta {

enum class WeightsFormat { safetensors, torch };

// Looks at the first bytes. Fails with ERR_FILE_FORMAT (saying what the file seems to be: a Git LFS pointer, a web
// page, an empty file) or, for the tar archives of PyTorch 0.1, with ERR_UNSUPPORTED.
WeightsFormat detect_weights_format(const std::string& path);

// One file: safetensors or a PyTorch checkpoint.
StateDict read_weights(const std::string& path);

void write_weights(const std::string& path, const StateDict& tensors, WeightsFormat format);

// A model folder as Hugging Face writes it: the first that is there of model.safetensors,
// model.safetensors.index.json, pytorch_model.bin and pytorch_model.bin.index.json.
StateDict read_model_weights(const std::string& folder);

// What one file holds, or a model's folder.
StateDict read_weights_at(const std::string& path);

// The file, or the index of several, that read_model_weights takes; empty when the folder has none.
std::string find_model_weights(const std::string& folder);

}  // namespace ta
