// Paths come as UTF-8 on every platform; what std::filesystem makes of a plain string differs.
#pragma once

#include <filesystem>
#include <string>

namespace ta {

inline std::filesystem::path utf8_path(const std::string& path) {
  return {std::u8string(path.begin(), path.end())};
}

inline std::string utf8_text(const std::filesystem::path& path) {
  const std::u8string text = path.u8string();
  return {text.begin(), text.end()};
}

}  // namespace ta
