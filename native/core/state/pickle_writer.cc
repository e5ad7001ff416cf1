#include "core/state/pickle_writer.h"

#include <bit>
#include <limits>
#include <string_view>

#include "core/error.h"
#include "core/state/bytes.h"
#include "core/state/dtype.h"
#include "core/state/mapped_storage.h"
#include "core/state/utf8.h"

namespace ta {
namespace {

class PickleWriter {
 public:
  explicit PickleWriter(const TensorStore& store_tensor) : store_tensor_(store_tensor) {}

  std::string write(const PickleValue& value) {
    out_ = "\x80\x02";
    append(value);
    out_ += '.';
    return std::move(out_);
  }

 private:
  void append(const PickleValue& value) {
    const std::string what = "the value to write";
    if (value.is_none())
      out_ += 'N';
    else if (value.is_bool())
      boolean(value.as_bool(what));
    else if (value.is_integer())
      integer(value.as_integer(what));
    else if (value.is_real())
      real(value.as_real(what));
    else if (value.is_string())
      string(value.as_string(what));
    else if (value.is_tensor())
      tensor(value.as_tensor(what));
    else if (value.is_dict())
      dict(value);
    else if (value.is_list())
      list(value.as_items(what));
    else if (value.is_tuple())
      tuple(value.as_items(what));
    else
      fail(ErrorCode::unsupported, "write pickle", "this kind of value cannot be written", {.got = value.kind()});
  }

  void boolean(bool value) { out_ += value ? '\x88' : '\x89'; }

  void integer(int64_t value) {
    if (value >= 0 && value < 256) {
      out_ += 'K';
      out_ += static_cast<char>(value);
    } else if (value >= std::numeric_limits<int32_t>::min() && value <= std::numeric_limits<int32_t>::max()) {
      out_ += 'J';
      append_little_endian(out_, static_cast<int32_t>(value));
    } else {
      out_ += "\x8a\x08";
      append_little_endian(out_, value);
    }
  }

  void real(double value) {
    const uint64_t bits = std::bit_cast<uint64_t>(value);
    out_ += 'G';
    for (int shift = 56; shift >= 0; shift -= 8) out_ += static_cast<char>(bits >> shift & 0xFF);
  }

  void string(const std::string& value) {
    if (!is_utf8(value) || value.size() > std::numeric_limits<uint32_t>::max()) {
      fail(ErrorCode::invalid_argument, "write pickle", "a text that is not UTF-8");
    }
    out_ += 'X';
    append_little_endian(out_, static_cast<uint32_t>(value.size()));
    out_ += value;
  }

  void global(std::string_view module, std::string_view name) { out_ += text('c', module, '\n', name, '\n'); }

  void list(const PickleValue::Items& items) {
    out_ += "](";
    for (const PickleValue& item : items) append(item);
    out_ += 'e';
  }

  void tuple(const PickleValue::Items& items) {
    out_ += '(';
    for (const PickleValue& item : items) append(item);
    out_ += 't';
  }

  void integers(at::IntArrayRef values) {
    out_ += '(';
    for (const int64_t value : values) integer(value);
    out_ += 't';
  }

  void dict(const PickleValue& value) {
    if (value.is_ordered_dict())
      empty_ordered_dict();
    else
      out_ += '}';
    out_ += '(';
    for (const auto& [key, item] : value.as_entries("the dict to write")) {
      append(key);
      append(item);
    }
    out_ += 'u';
  }

  void empty_ordered_dict() {
    global("collections", "OrderedDict");
    out_ += ")R";
  }

  // torch._utils._rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks)
  void tensor(const at::Tensor& value) {
    const std::string key = store_tensor_(value);
    global("torch._utils", "_rebuild_tensor_v2");
    out_ += "((";
    string("storage");
    global("torch", storage_name(value.scalar_type(), "tensor"));
    string(key);
    string("cpu");
    integer(value.numel());
    out_ += "tQ";
    integer(0);
    integers(value.sizes());
    integers(dense_strides(value.sizes().vec()));
    boolean(false);
    empty_ordered_dict();
    out_ += "tR";
  }

  const TensorStore& store_tensor_;
  std::string out_;
};

}  // namespace

std::string write_pickle(const PickleValue& value, const TensorStore& store_tensor) {
  return PickleWriter(store_tensor).write(value);
}

}  // namespace ta
