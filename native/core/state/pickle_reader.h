// Reads the pickles that torch.save writes (protocols 2 to 5) without ever executing anything: a pickle is a program
// for a small stack machine, and of its instructions only those are known here that build plain data. A global name is
// looked up in a fixed list (torch_globals.h) and refused when it is not there.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>

#include "core/state/pickle_value.h"

namespace ta {

// A tensor's "persistent id".
struct StorageId {
  std::string key;  // in the file
  at::ScalarType dtype;
  int64_t elements;  // as the pickle claims
  // Of PyTorch's oldest files: a storage of its own name that is a part of the one above, counted in elements.
  struct View {
    std::string key;
    int64_t offset;
    int64_t elements;
  };
  std::optional<View> view;
};
using StorageLoader = std::function<at::Storage(const StorageId&)>;

// Fails with ERR_FILE_FORMAT on anything malformed and past the limits (64 MB, 4 million instructions, a nesting of
// 64), with ERR_UNSUPPORTED on objects that are not plain data. `source` names the pickle in messages.
PickleValue read_pickle(std::span<const uint8_t> pickle, const StorageLoader& load_storage, const std::string& source);

// The same for a pickle with other bytes behind it: `bytes` then begins after it.
PickleValue take_pickle(std::span<const uint8_t>& bytes, const StorageLoader& load_storage, const std::string& source);

}  // namespace ta
