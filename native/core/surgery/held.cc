#include "core/surgery/held.h"

#include <algorithm>
#include <unordered_set>

#include "core/error.h"

namespace ta {

namespace {

// 64 MiB of parameters, made in a fraction of a second.
constexpr double kLittle = 1 << 24;

}  // namespace

void check_held(const std::string& operation, const std::vector<NamedParameter>& parameters,
                const std::optional<WeightsSource>& source) {
  if (!source) return;
  std::unordered_set<const at::Tensor*> seen;
  double values = 0;
  for (const auto& named : parameters) {
    if (!seen.insert(named.parameter.value).second) continue;
    double count = 1;
    for (const int64_t size : named.parameter.shape) count *= static_cast<double>(size);
    values += count;
  }
  if (values <= source->bytes + kLittle) return;
  const auto whole = [](double number) { return static_cast<uint64_t>(std::min(number, 1e18)); };
  fail(ErrorCode::state_dict, operation, "its configuration does not fit " + source->path,
       {.expected = text("weights of ", whole(values), " values"),
        .got = text("a file of ", whole(source->bytes), " bytes"),
        .hint = "Its sizes are damaged, or the weights are another's: write or download both again"});
}

}  // namespace ta
