#include "core/state/torch_globals.h"

#include <algorithm>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/state/dtype.h"
#include "core/state/mapped_storage.h"

namespace ta {
namespace {

using Items = PickleValue::Items;

[[noreturn]] void bad_arguments(const std::string& name, const std::string& source) {
  fail(ErrorCode::file_format, "read " + source, "wrong arguments for " + name);
}

std::vector<int64_t> integers(const PickleValue& value, const std::string& what) {
  std::vector<int64_t> result;
  for (const PickleValue& item : value.as_items(what)) result.push_back(item.as_integer(what));
  return result;
}

// collections.OrderedDict() or OrderedDict([(key, value), …])
PickleValue ordered_dict(const Items& arguments, const std::string& source) {
  PickleValue dict = PickleValue::ordered_dict();
  if (arguments.empty()) return dict;
  if (arguments.size() != 1) bad_arguments("OrderedDict", source);
  for (const PickleValue& pair : arguments[0].as_items(source)) {
    const Items& both = pair.as_items(source);
    if (both.size() != 2) bad_arguments("OrderedDict", source);
    dict.set(both[0], both[1]);
  }
  return dict;
}

// (storage, offset, size, stride, requires_grad, hooks[, metadata]); the last three do not change the values, and
// _rebuild_tensor of PyTorch before 0.4 has none of them.
PickleValue rebuild_tensor(const Items& arguments, const std::string& source) {
  if (arguments.size() < 4 || !arguments[0].raw_storage()) bad_arguments("_rebuild_tensor", source);
  const PickleValue::RawStorage& raw = *arguments[0].raw_storage();
  return tensor_in_storage(raw.storage, raw.dtype, arguments[1].as_integer(source), integers(arguments[2], source),
                           integers(arguments[3], source), source);
}

// (tensor, requires_grad, hooks)
PickleValue rebuild_parameter(const Items& arguments, const std::string& source) {
  if (arguments.empty() || !arguments[0].is_tensor()) bad_arguments("_rebuild_parameter", source);
  return arguments[0];
}

// torch.Size is a tuple of integers.
PickleValue size(const Items& arguments, const std::string& source) {
  if (arguments.size() != 1) bad_arguments("torch.Size", source);
  integers(arguments[0], source);
  return PickleValue::tuple(arguments[0].as_items(source));
}

struct Callable {
  std::string_view name;
  PickleValue (*call)(const Items&, const std::string&);
};

constexpr Callable callables[] = {
    {"collections.OrderedDict", ordered_dict},
    {"torch._utils._rebuild_tensor_v2", rebuild_tensor},
    {"torch._utils._rebuild_tensor", rebuild_tensor},
    {"torch._utils._rebuild_parameter", rebuild_parameter},
    {"torch.Size", size},
};

const Callable* find(std::string_view name) {
  const auto* found = std::find_if(std::begin(callables), std::end(callables),
                                   [&](const Callable& callable) { return callable.name == name; });
  return found == std::end(callables) ? nullptr : found;
}

}  // namespace

std::optional<at::ScalarType> storage_dtype(const std::string& global) {
  constexpr std::string_view module = "torch.";
  if (!global.starts_with(module)) return std::nullopt;
  return dtype_from_storage(std::string_view(global).substr(module.size()));
}

bool is_known_global(const std::string& name) {
  return find(name) || storage_dtype(name);
}

PickleValue call_torch_global(const std::string& name, const Items& arguments, const std::string& source) {
  if (const Callable* callable = find(name)) return callable->call(arguments, source);
  bad_arguments(name, source);
}

}  // namespace ta
