#include <algorithm>
#include <map>
#include <tuple>
#include <vector>

#include "core/error.h"
#include "core/state/atomic_file.h"
#include "core/state/mapped_storage.h"
#include "core/state/pickle_writer.h"
#include "core/state/torch_checkpoint.h"
#include "core/state/zip_writer.h"

namespace ta {
namespace {

// Numbers the records; equal views get the same number.
class Records {
 public:
  std::string store(const at::Tensor& tensor) {
    if (!tensor.defined() || !tensor.has_storage()) writable_tensor(tensor, "tensor");
    const View view{tensor.const_data_ptr(), tensor.scalar_type(), tensor.device().str(), tensor.sizes().vec(),
                    tensor.strides().vec()};
    // Empty tensors have no memory to share.
    const bool shareable = tensor.numel() > 0;
    if (shareable && numbers_.contains(view)) return std::to_string(numbers_.at(view));
    const std::size_t number = tensors_.size();
    if (shareable) numbers_.emplace(view, number);
    tensors_.push_back(tensor);
    return std::to_string(number);
  }

  const std::vector<at::Tensor>& tensors() const { return tensors_; }

 private:
  using View = std::tuple<const void*, at::ScalarType, std::string, std::vector<int64_t>, std::vector<int64_t>>;
  std::map<View, std::size_t> numbers_;
  std::vector<at::Tensor> tensors_;
};

}  // namespace

void write_torch_checkpoint(const std::string& path, const PickleValue& value) {
  Records records;
  const std::string pickle = write_pickle(value, [&](const at::Tensor& tensor) { return records.store(tensor); });
  AtomicFile file(path);
  ZipWriter zip(file);
  const std::string folder = "archive/";
  zip.add(folder + "data.pkl", pickle);
  zip.add(folder + "byteorder", "little");
  for (std::size_t i = 0; i < records.tensors().size(); ++i) {
    // One at a time: a copy from another device or of a view lives only while it is written.
    const std::string name = folder + "data/" + std::to_string(i);
    const at::Tensor dense = writable_tensor(records.tensors()[i], name);
    zip.add(name, dense.const_data_ptr(), static_cast<std::size_t>(dense.numel()) * dense.element_size());
  }
  zip.add(folder + "version", "3\n");
  zip.finish();
  file.commit();
}

void write_state_dict(const std::string& path, const StateDict& tensors) {
  PickleValue dict = PickleValue::dict();
  for (const auto& [name, tensor] : tensors) dict.set(name, tensor);
  write_torch_checkpoint(path, dict);
}

}  // namespace ta
