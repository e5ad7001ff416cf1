// UTF-8 paths and messages for the Windows calls. Included by the *_windows.cc files only.
#pragma once
#ifdef _WIN32
#ifndef NOMINMAX
#define NOMINMAX
#endif
#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif
#include <windows.h>

#include <string>

#include "core/error.h"

namespace ta {

inline std::wstring wide_path(const std::string& path) {
  if (path.empty()) return {};
  const int bytes = static_cast<int>(path.size());
  const int length = ::MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path.data(), bytes, nullptr, 0);
  if (length <= 0) fail(ErrorCode::file_io, "open " + path, "the path is not valid UTF-8");
  std::wstring wide(static_cast<std::size_t>(length), L'\0');
  ::MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path.data(), bytes, wide.data(), length);
  return wide;
}

[[noreturn]] inline void fail_windows(const std::string& operation, const std::string& problem) {
  const DWORD code = ::GetLastError();
  char message[256] = {};
  ::FormatMessageA(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS, nullptr, code, 0, message,
                   sizeof message, nullptr);
  std::string reason = message;
  while (!reason.empty() && (reason.back() == '\n' || reason.back() == '\r' || reason.back() == '.')) reason.pop_back();
  const bool is_full = code == ERROR_DISK_FULL || code == ERROR_HANDLE_DISK_FULL;
  fail(ErrorCode::file_io, operation, text(problem, ": ", reason, " (Windows error ", code, ")"),
       {.hint = is_full ? "Free some space; a file that was there before is unchanged." : ""});
}

}  // namespace ta
#endif
