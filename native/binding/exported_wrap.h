#pragma once
// Models from torch.export archives, in two steps: what the graph says of itself, then a model with the configuration
// that lib made of it.

#include "binding/napi.h"

namespace ta::binding {

/// openExported(path, device, output, pooling, attention?, feedForward?): a promise of { handle, facts }
Napi::Value open_exported(const Napi::CallbackInfo& info);
/// createExported(handle, config, prefix, device): a model; a handle gives one.
Napi::Value create_exported(const Napi::CallbackInfo& info);

}  // namespace ta::binding
