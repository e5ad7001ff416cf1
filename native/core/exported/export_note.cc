#include "core/exported/export_note.h"

#include "core/exported/json_fields.h"

namespace ta::exported {

std::vector<std::string> noted_texts(const Archive& archive, const char* field) {
  const auto note = archive.extra().find("torch_adapters.json");
  if (note == archive.extra().end()) return {};
  std::vector<std::string> result;
  try {
    const auto json = parse_json(note->second, note->first);
    if (const auto* texts = optional_field(json, field))
      for (const auto& text : texts->as_array(field)) result.push_back(text.as_string(field));
  } catch (const Error&) {
    result.clear();
  }
  return result;
}

int64_t noted_number(const Archive& archive, const char* config_field, int64_t otherwise) {
  const auto note = archive.extra().find("torch_adapters.json");
  if (note == archive.extra().end()) return otherwise;
  try {
    const auto json = parse_json(note->second, note->first);
    const auto* config = optional_field(json, "config");
    const auto* number = config == nullptr ? nullptr : optional_field(*config, config_field);
    return number == nullptr ? otherwise : number->as_integer(config_field);
  } catch (const Error&) {
    return otherwise;
  }
}

}  // namespace ta::exported
