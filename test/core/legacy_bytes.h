// Files as torch.save wrote them before 1.6, made by hand.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/state/bytes.h"

namespace check {

using namespace std::string_literals;

inline std::string pickled_text(std::string_view value) {
  std::string out = "X";
  ta::append_little_endian(out, static_cast<uint32_t>(value.size()));
  return out.append(value);
}

// `view`: the instructions that give the sixth part of the id.
inline std::string pickled_storage(const std::string& type, const std::string& key, char elements,
                                   const std::string& view = "N") {
  return "(" + pickled_text("storage") + "ctorch\n" + type + "\n" + pickled_text(key) + pickled_text("cpu") + "K" +
         elements + view + "tQ";
}

// As PyTorch 0.2 wrote tensors: (storage, offset, size, stride).
inline std::string pickled_vector(const std::string& storage, char offset, char size, char stride) {
  return "ctorch._utils\n_rebuild_tensor\n("s + storage + "K" + offset + "K" + size + "\x85K" + stride + "\x85tR";
}

struct LegacyStorage {
  std::string key;
  int64_t elements;
  std::string data;
};

inline const std::string legacy_magic = "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."s;

// `object`: instructions that leave one value.
inline std::string legacy_file(const std::string& object, const std::vector<LegacyStorage>& storages,
                               const std::string& version = "M\xe9\x03") {
  std::string keys = "\x80\x02](";
  std::string data;
  for (const auto& [key, elements, bytes] : storages) {
    keys += pickled_text(key);
    ta::append_little_endian(data, elements);
    data += bytes;
  }
  const std::string head = "\x80\x02"s;
  return legacy_magic + head + version + "." + head + "}." + head + object + "." + keys + "e." + data;
}

// {"whole": six floats, "part": the view of elements 2 to 4, "odd": every other of them, "flags": two bools}
inline std::string legacy_with_views() {
  const std::string root = pickled_storage("FloatStorage", "7", 6);
  const std::string view = pickled_storage("FloatStorage", "7", 6, pickled_text("9") + "K\x02K\x03\x87");
  const std::string flags = pickled_storage("BoolStorage", "8", 2);
  std::string floats;
  for (const float value : {0.f, 1.f, 2.f, 3.f, 4.f, 5.f}) floats.append(reinterpret_cast<const char*>(&value), 4);
  const std::string object = "}(" + pickled_text("whole") + pickled_vector(root, 0, 6, 1) + pickled_text("part") +
                             pickled_vector(view, 0, 3, 1) + pickled_text("odd") + pickled_vector(root, 1, 3, 2) +
                             pickled_text("flags") + pickled_vector(flags, 0, 2, 1) + "u";
  return legacy_file(object, {{"8", 2, "\x01\x00"s}, {"7", 6, floats}});
}

}  // namespace check
