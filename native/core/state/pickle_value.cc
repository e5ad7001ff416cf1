#include "core/state/pickle_value.h"

#include <algorithm>

#include "core/error.h"

namespace ta {

struct PickleValue::Container {
  ContainerKind kind;
  Items items;
  Entries entries;
  int depth = 1;
  uint64_t weight = 1;
  bool sealed = false;
  bool unfinished = false;

  bool is_dict() const { return kind == ContainerKind::dict || kind == ContainerKind::ordered_dict; }
};

namespace {

[[noreturn]] void wrong_kind(const std::string& what, const char* expected, const char* got) {
  fail(ErrorCode::file_format, "read " + what, "wrong kind of value", {.expected = expected, .got = got});
}

}  // namespace

PickleValue PickleValue::make(ContainerKind kind, Items items) {
  auto container = std::make_shared<Container>();
  container->kind = kind;
  for (const PickleValue& item : items) adopt(*container, item);
  container->items = std::move(items);
  return PickleValue(std::move(container));
}

PickleValue PickleValue::list(Items items) {
  return make(ContainerKind::list, std::move(items));
}
PickleValue PickleValue::tuple(Items items) {
  return make(ContainerKind::tuple, std::move(items));
}
PickleValue PickleValue::dict() {
  return make(ContainerKind::dict, {});
}
PickleValue PickleValue::ordered_dict() {
  return make(ContainerKind::ordered_dict, {});
}

const PickleValue::Container* PickleValue::container() const {
  const auto* pointer = std::get_if<std::shared_ptr<Container>>(&value_);
  return pointer ? pointer->get() : nullptr;
}

bool PickleValue::is_list() const {
  return container() && container()->kind == ContainerKind::list;
}
bool PickleValue::is_tuple() const {
  return container() && container()->kind == ContainerKind::tuple;
}
bool PickleValue::is_dict() const {
  return container() && container()->is_dict();
}
bool PickleValue::is_ordered_dict() const {
  return container() && container()->kind == ContainerKind::ordered_dict;
}
bool PickleValue::is_unfinished() const {
  return container() ? container()->unfinished : global() || raw_storage();
}

bool PickleValue::as_bool(const std::string& what) const {
  if (const bool* value = std::get_if<bool>(&value_)) return *value;
  wrong_kind(what, "True or False", kind());
}

int64_t PickleValue::as_integer(const std::string& what) const {
  if (const int64_t* value = std::get_if<int64_t>(&value_)) return *value;
  wrong_kind(what, "an int", kind());
}

double PickleValue::as_real(const std::string& what) const {
  if (const int64_t* value = std::get_if<int64_t>(&value_)) return static_cast<double>(*value);
  if (const double* value = std::get_if<double>(&value_)) return *value;
  wrong_kind(what, "a float", kind());
}

const std::string& PickleValue::as_string(const std::string& what) const {
  if (const auto* value = std::get_if<std::shared_ptr<const std::string>>(&value_)) return **value;
  wrong_kind(what, "a str", kind());
}

const at::Tensor& PickleValue::as_tensor(const std::string& what) const {
  if (const at::Tensor* value = std::get_if<at::Tensor>(&value_)) return *value;
  wrong_kind(what, "a tensor", kind());
}

const PickleValue::Items& PickleValue::as_items(const std::string& what) const {
  if (is_list() || is_tuple()) return container()->items;
  wrong_kind(what, "a list or tuple", kind());
}

const PickleValue::Entries& PickleValue::as_entries(const std::string& what) const {
  if (is_dict()) return container()->entries;
  wrong_kind(what, "a dict", kind());
}

const PickleValue::Global* PickleValue::global() const {
  const auto* value = std::get_if<std::shared_ptr<const Global>>(&value_);
  return value ? value->get() : nullptr;
}

const PickleValue::RawStorage* PickleValue::raw_storage() const {
  const auto* value = std::get_if<std::shared_ptr<const RawStorage>>(&value_);
  return value ? value->get() : nullptr;
}

const PickleValue* PickleValue::find(std::string_view key) const {
  if (!is_dict()) return nullptr;
  const Entries& entries = container()->entries;
  const auto found = std::find_if(entries.rbegin(), entries.rend(), [&](const auto& entry) {
    const auto* name = std::get_if<std::shared_ptr<const std::string>>(&entry.first.value_);
    return name && **name == key;
  });
  return found == entries.rend() ? nullptr : &found->second;
}

const PickleValue& PickleValue::at(std::string_view key, const std::string& what) const {
  if (const PickleValue* value = find(key)) return *value;
  fail(ErrorCode::file_format, "read " + what, text("no entry '", key, "'"), {.got = kind()});
}

PickleValue::Container& PickleValue::open_container(const char* operation) {
  auto* pointer = std::get_if<std::shared_ptr<Container>>(&value_);
  if (!pointer) fail(ErrorCode::invalid_argument, operation, "not a container", {.got = kind()});
  if ((*pointer)->sealed) {
    fail(ErrorCode::invalid_argument, operation, "the container is part of another one already",
         {.hint = "Fill a container before it is put into another."});
  }
  return **pointer;
}

void PickleValue::adopt(Container& parent, const PickleValue& child) {
  if (child.container() == &parent) fail(ErrorCode::invalid_argument, "add to container", "it cannot hold itself");
  if (child.depth() >= max_depth) {
    fail(ErrorCode::invalid_argument, "add to container", text("nested deeper than ", max_depth));
  }
  const uint64_t weight = parent.weight + child.weight();
  if (weight > max_weight) fail(ErrorCode::invalid_argument, "add to container", "too many values");
  parent.weight = weight;
  parent.depth = std::max(parent.depth, child.depth() + 1);
  parent.unfinished = parent.unfinished || child.is_unfinished();
  if (const auto* inner = std::get_if<std::shared_ptr<Container>>(&child.value_)) (*inner)->sealed = true;
}

void PickleValue::append(PickleValue item) {
  Container& list = open_container("append");
  if (list.kind != ContainerKind::list) fail(ErrorCode::invalid_argument, "append", "not a list", {.got = kind()});
  adopt(list, item);
  list.items.push_back(std::move(item));
}

void PickleValue::set(PickleValue key, PickleValue value) {
  Container& dict = open_container("set");
  if (!dict.is_dict()) fail(ErrorCode::invalid_argument, "set", "not a dict", {.got = kind()});
  const bool hashable = !key.is_list() && !key.is_dict() && !key.is_tensor() && !key.is_unfinished();
  if (!hashable) fail(ErrorCode::invalid_argument, "set", "not a key", {.got = key.kind()});
  adopt(dict, key);
  adopt(dict, value);
  dict.entries.emplace_back(std::move(key), std::move(value));
}

int PickleValue::depth() const {
  return container() ? container()->depth : 0;
}

uint64_t PickleValue::weight() const {
  if (container()) return container()->weight;
  const auto* string = std::get_if<std::shared_ptr<const std::string>>(&value_);
  return string ? 1 + (*string)->size() : 1;
}

const char* PickleValue::kind() const {
  if (is_tuple()) return "a tuple";
  if (is_dict()) return "a dict";
  static constexpr const char* names[] = {"None",     "a bool", "an int",   "a float",  "a str",
                                          "a tensor", "a list", "a global", "a storage"};
  return names[value_.index()];
}

}  // namespace ta
