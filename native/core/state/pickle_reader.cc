#include "core/state/pickle_reader.h"

#include <algorithm>
#include <bit>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/state/bytes.h"
#include "core/state/torch_globals.h"
#include "core/state/utf8.h"

namespace ta {
namespace {

constexpr std::size_t max_bytes = std::size_t{64} << 20;
constexpr std::size_t max_instructions = 4'000'000;

// The instructions of pickle that build plain data (names as in Python's pickletools).
// clang-format off
enum Opcode : uint8_t {
  MARK = '(', STOP = '.', NONE = 'N', NEWTRUE = 0x88, NEWFALSE = 0x89,
  BININT = 'J', BININT1 = 'K', BININT2 = 'M', LONG1 = 0x8a, BINFLOAT = 'G',
  BINUNICODE = 'X', SHORT_BINUNICODE = 0x8c,
  EMPTY_LIST = ']', APPEND = 'a', APPENDS = 'e',
  EMPTY_TUPLE = ')', TUPLE = 't', TUPLE1 = 0x85, TUPLE2 = 0x86, TUPLE3 = 0x87,
  EMPTY_DICT = '}', SETITEM = 's', SETITEMS = 'u',
  BINGET = 'h', LONG_BINGET = 'j', BINPUT = 'q', LONG_BINPUT = 'r', MEMOIZE = 0x94,
  GLOBAL = 'c', STACK_GLOBAL = 0x93, REDUCE = 'R', BUILD = 'b', BINPERSID = 'Q',
  PROTO = 0x80, FRAME = 0x95
};
// clang-format on

class PickleReader {
 public:
  PickleReader(std::span<const uint8_t> pickle, const StorageLoader& load_storage, const std::string& source)
      : bytes_(pickle, source), load_storage_(load_storage), source_(source) {}

  PickleValue read() {
    if (bytes_.read<uint8_t>() != PROTO) bad("not a pickle of protocol 2 or later");
    const int protocol = bytes_.read<uint8_t>();
    if (protocol < 2 || protocol > 5) bad(text("protocol ", protocol, " is not known"));
    for (std::size_t count = 0; count < max_instructions; ++count) {
      const uint8_t opcode = bytes_.read<uint8_t>();
      if (opcode == STOP) return result();
      step(opcode);
    }
    bad(text("more than ", max_instructions, " instructions"));
  }

  std::size_t position() const { return bytes_.position(); }

 private:
  [[noreturn]] void bad(const std::string& problem) const {
    fail(ErrorCode::file_format, "read " + source_, text("invalid pickle at byte ", bytes_.position(), ": ", problem));
  }

  PickleValue result() {
    PickleValue value = pop();
    if (!stack_.empty() || !marks_.empty()) bad("values are left over at the end");
    if (value.is_unfinished()) bad("the result is not plain data");
    return value;
  }

  void push(PickleValue value) { stack_.push_back(std::move(value)); }

  // Values below the latest mark belong to an outer container and cannot be taken.
  PickleValue pop() {
    if (stack_.size() <= floor()) bad("the stack is empty");
    PickleValue value = std::move(stack_.back());
    stack_.pop_back();
    return value;
  }

  PickleValue& top() {
    if (stack_.size() <= floor()) bad("the stack is empty");
    return stack_.back();
  }

  std::size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }

  PickleValue::Items pop_to_mark() {
    if (marks_.empty()) bad("no mark");
    const auto first = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    PickleValue::Items items(std::make_move_iterator(first), std::make_move_iterator(stack_.end()));
    stack_.erase(first, stack_.end());
    marks_.pop_back();
    return items;
  }

  PickleValue::Items pop_many(int count) {
    PickleValue::Items items(static_cast<std::size_t>(count));
    for (std::size_t i = items.size(); i-- > 0;) items[i] = pop();
    return items;
  }

  PickleValue string(uint64_t size) {
    const std::string_view characters = bytes_.take_text(size);
    if (!is_utf8(characters)) bad("a str that is not UTF-8");
    return std::string(characters);
  }

  PickleValue long_integer() {
    const int size = bytes_.read<uint8_t>();
    if (size > 8) bad("an int of more than 64 bits");
    uint64_t value = 0;
    for (int i = 0; i < size; ++i) value |= uint64_t{bytes_.read<uint8_t>()} << (8 * i);
    // Two's complement of that many bytes: the top bit is the sign.
    if (size > 0 && size < 8 && (value >> (8 * size - 1) & 1)) value |= ~uint64_t{0} << (8 * size);
    return static_cast<int64_t>(value);
  }

  PickleValue real() {
    uint64_t bits = 0;
    for (int i = 0; i < 8; ++i) bits = bits << 8 | bytes_.read<uint8_t>();
    return std::bit_cast<double>(bits);
  }

  std::string line() {
    std::string characters;
    for (char next = 0; (next = static_cast<char>(bytes_.read<uint8_t>())) != '\n';) {
      if (characters.size() >= 256) bad("a global name of more than 256 characters");
      characters.push_back(next);
    }
    return characters;
  }

  void push_global(const std::string& module, const std::string& name) {
    const std::string global = module + "." + name;
    if (!is_known_global(global)) {
      fail(ErrorCode::unsupported, "read " + source_, "the file holds an object that is not plain data",
           {.expected = "tensors, numbers, text, lists and dicts",
            .got = is_utf8(global) ? global : "a name that is not UTF-8",
            .hint = "Nothing was executed. In Python, save model.state_dict() instead of the object itself."});
    }
    push(PickleValue(PickleValue::Global{global}));
  }

  void memoize(uint32_t index) { memo_.insert_or_assign(index, top()); }

  void recall(uint32_t index) {
    const auto found = memo_.find(index);
    if (found == memo_.end()) bad(text("nothing was stored as ", index));
    push(found->second);
  }

  void append(PickleValue::Items items) {
    if (!top().is_list()) bad("not a list to append to");
    for (PickleValue& item : items) top().append(std::move(item));
  }

  void set_items(PickleValue::Items items) {
    if (!top().is_dict() || items.size() % 2 != 0) bad("not a dict to add to");
    for (std::size_t i = 0; i < items.size(); i += 2) top().set(std::move(items[i]), std::move(items[i + 1]));
  }

  void reduce() {
    const PickleValue arguments = pop();
    const PickleValue function = pop();
    if (!function.global() || !arguments.is_tuple()) bad("not a call");
    push(call_torch_global(function.global()->name, arguments.as_items(source_), source_));
  }

  // The state of an OrderedDict: attributes such as _metadata, the versions of PyTorch's modules. Nothing here needs
  // it.
  void build() {
    pop();
    if (!top().is_ordered_dict()) bad("state for something that has none");
  }

  // ('storage', torch.FloatStorage, key, device, number of elements), and before PyTorch 1.6 a view or None
  void load_storage() {
    const PickleValue id = pop();
    if (!id.is_tuple()) bad("not a storage");
    const PickleValue::Items& parts = id.as_items(source_);
    if (parts.size() != 5 && parts.size() != 6) bad("not a storage");
    const PickleValue::Global* type = parts[1].global();
    if (!type || parts[0].as_string(source_) != "storage") bad("not a storage");
    const std::optional<at::ScalarType> dtype = storage_dtype(type->name);
    if (!dtype) bad(type->name + " is not a storage");
    const int64_t elements = parts[4].as_integer(source_);
    if (elements < 0) bad("a storage of negative size");
    const auto view = parts.size() == 6 ? storage_view(parts[5]) : std::nullopt;
    const StorageId named{parts[2].as_string(source_), *dtype, elements, view};
    push(PickleValue(PickleValue::RawStorage{load_storage_(named), *dtype}));
  }

  // (key, offset, number of elements)
  std::optional<StorageId::View> storage_view(const PickleValue& value) const {
    if (value.is_none()) return std::nullopt;
    if (!value.is_tuple() || value.as_items(source_).size() != 3) bad("not a view of a storage");
    const PickleValue::Items& parts = value.as_items(source_);
    return StorageId::View{parts[0].as_string(source_), parts[1].as_integer(source_), parts[2].as_integer(source_)};
  }

  // clang-format off
  void step(uint8_t opcode) {
    switch (opcode) {
      case MARK: marks_.push_back(stack_.size()); break;
      case NONE: push({}); break;
      case NEWTRUE: push(true); break;
      case NEWFALSE: push(false); break;
      case BININT: push(int64_t{bytes_.read<int32_t>()}); break;
      case BININT1: push(int64_t{bytes_.read<uint8_t>()}); break;
      case BININT2: push(int64_t{bytes_.read<uint16_t>()}); break;
      case LONG1: push(long_integer()); break;
      case BINFLOAT: push(real()); break;
      case BINUNICODE: push(string(bytes_.read<uint32_t>())); break;
      case SHORT_BINUNICODE: push(string(bytes_.read<uint8_t>())); break;
      case EMPTY_LIST: push(PickleValue::list()); break;
      case APPEND: append(pop_many(1)); break;
      case APPENDS: append(pop_to_mark()); break;
      case EMPTY_TUPLE: push(PickleValue::tuple()); break;
      case TUPLE: push(PickleValue::tuple(pop_to_mark())); break;
      case TUPLE1: push(PickleValue::tuple(pop_many(1))); break;
      case TUPLE2: push(PickleValue::tuple(pop_many(2))); break;
      case TUPLE3: push(PickleValue::tuple(pop_many(3))); break;
      case EMPTY_DICT: push(PickleValue::dict()); break;
      case SETITEM: set_items(pop_many(2)); break;
      case SETITEMS: set_items(pop_to_mark()); break;
      case BINGET: recall(bytes_.read<uint8_t>()); break;
      case LONG_BINGET: recall(bytes_.read<uint32_t>()); break;
      case BINPUT: memoize(bytes_.read<uint8_t>()); break;
      case LONG_BINPUT: memoize(bytes_.read<uint32_t>()); break;
      case MEMOIZE: memoize(static_cast<uint32_t>(memo_.size())); break;
      case GLOBAL: {
        const std::string module = line();
        push_global(module, line());
        break;
      }
      case STACK_GLOBAL: {
        const PickleValue name = pop();
        push_global(pop().as_string(source_), name.as_string(source_));
        break;
      }
      case REDUCE: reduce(); break;
      case BUILD: build(); break;
      case BINPERSID: load_storage(); break;
      case FRAME: bytes_.read<uint64_t>(); break;
      default: bad(text("instruction ", int{opcode}, " is not one that plain data needs"));
    }
  }
  // clang-format on

  ByteReader bytes_;
  const StorageLoader& load_storage_;
  const std::string& source_;
  std::vector<PickleValue> stack_;
  std::vector<std::size_t> marks_;
  std::unordered_map<uint32_t, PickleValue> memo_;
};

}  // namespace

PickleValue read_pickle(std::span<const uint8_t> pickle, const StorageLoader& load_storage, const std::string& source) {
  if (pickle.size() > max_bytes) {
    fail(ErrorCode::file_format, "read " + source, text("invalid pickle: larger than ", max_bytes, " bytes"));
  }
  return take_pickle(pickle, load_storage, source);
}

PickleValue take_pickle(std::span<const uint8_t>& bytes, const StorageLoader& load_storage, const std::string& source) {
  try {
    PickleReader reader(bytes.first(std::min(bytes.size(), max_bytes)), load_storage, source);
    PickleValue value = reader.read();
    bytes = bytes.subspan(reader.position());
    return value;
  } catch (const Error& error) {
    // A container's own rules (pickle_value.h) speak of arguments; here it is the file that broke them.
    if (error.code != ErrorCode::invalid_argument) throw;
    fail(ErrorCode::file_format, "read " + source, std::string("invalid pickle: ") + error.what());
  }
}

}  // namespace ta
