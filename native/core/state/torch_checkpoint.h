// PyTorch's checkpoints. Since 1.6 a zip archive with one pickle and one record for each storage,
//   NAME/data.pkl  NAME/byteorder  NAME/data/0 …  NAME/version
// libtorch's own reader stumbles over OrderedDict and its writers produce what torch.load refuses, hence this one.
// Written files load with torch.load(weights_only=True), mapped or not. Files of 0.2 to 1.5, a row of pickles and the
// data behind them, are read too.
#pragma once

#include <memory>
#include <string>

#include "core/state/mapped_file.h"
#include "core/state/pickle_value.h"
#include "core/state/state_dict.h"

namespace ta {

// Tensors lie over the mapped file, without a copy. Checksums are verified for every record of a file of up to 64 MB
// (adapters, heads, training checkpoints) and for the pickle of any; reading all of a base model's weights just to
// check them would undo the mapping. Fails with ERR_UNSUPPORTED on TorchScript archives and on objects other than plain
// data.
PickleValue read_torch_checkpoint(const std::string& path);
PickleValue read_torch_checkpoint(const std::shared_ptr<const MappedFile>& file);

// Replaces `path` as a whole. Of a tensor that is a view only its own elements are written, never the rest of the
// memory behind it; the same view named twice is stored once and shares its memory again when Python loads it.
void write_torch_checkpoint(const std::string& path, const PickleValue& value);

// The tensors of a checkpoint: {name: tensor, …}, or the same inside {"state_dict": {…}, …}.
StateDict read_state_dict(const std::string& path);
StateDict to_state_dict(const PickleValue& value, const std::string& source);

void write_state_dict(const std::string& path, const StateDict& tensors);

// The format that torch.save wrote before 1.6 (legacy_checkpoint.cc). Fails with ERR_UNSUPPORTED on the tar archives of
// PyTorch 0.1, which are refused.
bool looks_like_legacy_checkpoint(const MappedFile& file);
PickleValue read_legacy_checkpoint(const std::shared_ptr<const MappedFile>& file);

}  // namespace ta
