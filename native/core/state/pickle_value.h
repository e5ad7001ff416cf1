// What a PyTorch checkpoint may hold here: none, bool, int, float, str, tensors, and lists, tuples and dicts of these.
//
// Copies are cheap and share their contents. A container that was put into another one is sealed: nothing can be added
// to it any more. So a value can hold neither itself nor, by way of shared parts, more than the limits below allow,
// however cunningly a file was made.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace ta {

class PickleValue {
 public:
  using Items = std::vector<PickleValue>;
  using Entries = std::vector<std::pair<PickleValue, PickleValue>>;

  static constexpr int max_depth = 64;
  // Values and characters, those in shared parts counted as often as they can be reached.
  static constexpr uint64_t max_weight = uint64_t{1} << 28;

  // Only while a pickle is being read: a name such as collections.OrderedDict, and a tensor's raw storage. Neither is
  // ever part of a finished value.
  struct Global {
    std::string name;
  };
  struct RawStorage {
    at::Storage storage;
    at::ScalarType dtype;
  };

  PickleValue() = default;
  PickleValue(bool value) : value_(value) {}
  PickleValue(int value) : value_(static_cast<int64_t>(value)) {}
  PickleValue(int64_t value) : value_(value) {}
  PickleValue(double value) : value_(value) {}
  PickleValue(std::string value) : value_(std::make_shared<const std::string>(std::move(value))) {}
  PickleValue(const char* value) : PickleValue(std::string(value)) {}
  PickleValue(at::Tensor value) : value_(std::move(value)) {}
  explicit PickleValue(Global value) : value_(std::make_shared<const Global>(std::move(value))) {}
  explicit PickleValue(RawStorage value) : value_(std::make_shared<const RawStorage>(std::move(value))) {}

  static PickleValue list(Items items = {});
  static PickleValue tuple(Items items = {});
  static PickleValue dict();
  static PickleValue ordered_dict();

  bool is_none() const { return std::holds_alternative<std::monostate>(value_); }
  bool is_bool() const { return std::holds_alternative<bool>(value_); }
  bool is_integer() const { return std::holds_alternative<int64_t>(value_); }
  bool is_real() const { return std::holds_alternative<double>(value_); }
  bool is_string() const { return std::holds_alternative<std::shared_ptr<const std::string>>(value_); }
  bool is_tensor() const { return std::holds_alternative<at::Tensor>(value_); }
  bool is_list() const;
  bool is_tuple() const;
  bool is_dict() const;  // an OrderedDict too
  bool is_ordered_dict() const;
  // True for, and for whatever contains, a Global or a RawStorage.
  bool is_unfinished() const;

  // Each fails with ERR_FILE_FORMAT when the value is of another kind; `what` names the place in the message.
  bool as_bool(const std::string& what) const;
  int64_t as_integer(const std::string& what) const;
  double as_real(const std::string& what) const;  // an integer too
  const std::string& as_string(const std::string& what) const;
  const at::Tensor& as_tensor(const std::string& what) const;
  const Items& as_items(const std::string& what) const;  // list or tuple
  const Entries& as_entries(const std::string& what) const;
  const Global* global() const;
  const RawStorage* raw_storage() const;

  // Of a dict: null, or ERR_FILE_FORMAT naming `what`, when the key is not there. As in Python the last of equal keys
  // counts.
  const PickleValue* find(std::string_view key) const;
  const PickleValue& at(std::string_view key, const std::string& what) const;

  // Fail with ERR_INVALID_ARGUMENT on another kind of value, on a sealed container and past the limits.
  void append(PickleValue item);
  void set(PickleValue key, PickleValue value);

  int depth() const;
  uint64_t weight() const;
  const char* kind() const;

 private:
  struct Container;
  enum class ContainerKind { list, tuple, dict, ordered_dict };

  explicit PickleValue(std::shared_ptr<Container> container) : value_(std::move(container)) {}
  static PickleValue make(ContainerKind kind, Items items);
  const Container* container() const;
  Container& open_container(const char* operation);
  static void adopt(Container& parent, const PickleValue& child);

  std::variant<std::monostate, bool, int64_t, double, std::shared_ptr<const std::string>, at::Tensor,
               std::shared_ptr<Container>, std::shared_ptr<const Global>, std::shared_ptr<const RawStorage>>
      value_;
};

}  // namespace ta
