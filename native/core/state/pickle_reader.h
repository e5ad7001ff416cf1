// Reads the pickles that torch.save writes (protocols 2 to 5) without ever executing anything: a pickle is a program
// for a small stack machine, and of its instructions only those are known here that build plain data. A global name is
// looked up in a fixed list (torch_globals.h) and refused when it is not there.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "core/state/pickle_value.h"

namespace ta {

// Gives the storage that a tensor's "persistent id" names: its key in the archive, its element type and the number of
// elements that the pickle claims.
using StorageLoader = std::function<at::Storage(const std::string& key, at::ScalarType dtype, int64_t elements)>;

// Fails with ERR_FILE_FORMAT on anything malformed and past the limits (64 MB, 4 million instructions, a nesting of
// 64), with ERR_UNSUPPORTED on objects that are not plain data. `source` names the pickle in messages.
PickleValue read_pickle(std::span<const uint8_t> pickle, const StorageLoader& load_storage, const std::string& source);

}  // namespace ta
