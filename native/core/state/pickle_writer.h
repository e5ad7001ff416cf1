// Writes values as pickles of protocol 2, with only those instructions that torch.load(weights_only=True) takes.
#pragma once

#include <functional>
#include <string>

#include "core/state/pickle_value.h"

namespace ta {

// Where a tensor's elements are stored: the record's key. The stored tensor is dense, so offset and strides follow.
using TensorStore = std::function<std::string(const at::Tensor& tensor)>;

// Fails with ERR_UNSUPPORTED on a tensor whose type PyTorch's files cannot hold.
std::string write_pickle(const PickleValue& value, const TensorStore& store_tensor);

}  // namespace ta
