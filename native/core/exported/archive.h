#pragma once
// A `.pt2` archive of torch.export.save, torch ≥ 2.9's raw layout: a zip whose entries are stored as they are,
//
//   NAME/archive_format                       "pt2"          NAME/byteorder  "little"
//   NAME/models/model.json                    the graph
//   NAME/data/weights/model_weights_config.json, weight_0 …  raw storages of parameters and persistent buffers
//   NAME/data/constants/model_constants_config.json, …       raw storages of other buffers and lifted constants
//   NAME/extra/…                              torch.export.save's extra_files
//
// Tensors stand over the mapped file, without a copy; those that share a storage in PyTorch share it here. Nothing is
// unpickled: weights and constants that were stored as pickles are refused, sample inputs are not opened.

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/state/state_dict.h"

namespace ta {

class MappedFile;
class ZipReader;

namespace exported {

class Archive {
 public:
  /// Fails with ERR_FILE_IO, ERR_FILE_FORMAT, or with ERR_UNSUPPORTED on another layout.
  static Archive open(const std::string& path);
  explicit Archive(std::shared_ptr<const MappedFile> file);

  const std::string& path() const { return path_; }
  /// JSON; bytes of the mapped file.
  std::string_view model() const { return model_; }
  /// Parameters and persistent buffers by PyTorch's names, then other buffers and lifted constants.
  const StateDict& weights() const { return weights_; }
  const StateDict& constants() const { return constants_; }
  /// By name below `extra/`; bytes of the mapped file.
  const std::unordered_map<std::string, std::string_view>& extra() const { return extra_; }

 private:
  void read_tensors(const ZipReader& zip, const std::string& folder, const std::string& config, StateDict& into);

  std::shared_ptr<const MappedFile> file_;
  std::string path_;
  std::string_view model_;
  StateDict weights_, constants_;
  std::unordered_map<std::string, std::string_view> extra_;
};

}  // namespace exported
}  // namespace ta
