#include "core/state/integer_weights.h"

#include <c10/core/ScalarType.h>

#include "core/error.h"
#include "core/state/dtype.h"

namespace ta {

bool IntegerWeights::take(const std::string& name, const at::Tensor& tensor, at::ScalarType wanted) {
  const bool misplaced = c10::isIntegralType(tensor.scalar_type(), true) && !c10::isIntegralType(wanted, true);
  if (!misplaced) return false;
  if (names_.empty()) type_ = dtype_name(tensor.scalar_type());
  names_.push_back(name);
  return true;
}

void IntegerWeights::refuse_any(const std::string& operation) const {
  if (names_.empty()) return;
  fail(ErrorCode::unsupported, operation, text("the file holds integers where weights belong: ", name_list(names_)),
       {.expected = "float32, float16 or bfloat16",
        .got = type_,
        .hint = "It seems to be quantized: take it as it was before, or dequantize it and save that"});
}

}  // namespace ta
