// A small test registry: one executable of all files, and one of each; no framework to fetch.
//   TEST(name) { CHECK(x > 0); CHECK_EQ(a, b); CHECK_NEAR(a, b, 1e-6); CHECK_THROWS(ta::ErrorCode::file_format,
//   read()); }
// The executable runs every test whose name contains one of its arguments, or all of them; the exit code is 1 when one
// failed. A test goes on after a failed CHECK, so that one run shows everything that is wrong.
#pragma once

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#ifndef _WIN32
#include <unistd.h>
#endif

// Brought in early and undone: libtorch has macros of the same names, which abort.
#include <c10/util/Logging.h>

#include "core/error.h"

namespace check {

struct Test {
  const char* name;
  void (*body)();
};

inline std::vector<Test>& tests() {
  static std::vector<Test> all;
  return all;
}

inline int& failures() {
  static int count = 0;
  return count;
}

struct Register {
  Register(const char* name, void (*body)()) { tests().push_back({name, body}); }
};

inline void report(const char* file, int line, const std::string& message) {
  ++failures();
  std::fprintf(stderr, "  %s:%d: %s\n", file, line, message.c_str());
}

template <class Value>
std::string show(const Value& value) {
  std::ostringstream stream;
  if constexpr (requires { stream << value; }) {
    stream << value;
  } else if constexpr (requires { value.begin(); }) {
    stream << "[";
    for (const auto& item : value) stream << " " << show(item);
    stream << " ]";
  } else {
    stream << "(a value)";
  }
  return stream.str();
}

template <class A, class B>
void equal(const A& a, const B& b, const char* text, const char* file, int line) {
  if (!(a == b)) report(file, line, std::string(text) + ": " + show(a) + " is not " + show(b));
}

inline void near(double a, double b, double tolerance, const char* text, const char* file, int line) {
  if (!(std::abs(a - b) <= tolerance)) report(file, line, std::string(text) + ": " + show(a) + " is not " + show(b));
}

// Every error of the project must carry a code and say something; the message is returned for further checks.
// Not a template, which would be compiled anew for each of hundreds of checks.
inline std::string throws(ta::ErrorCode code, const std::function<void()>& body, const char* text, const char* file,
                          int line) {
  try {
    body();
  } catch (const ta::Error& error) {
    if (error.code != code) {
      report(
          file, line,
          std::string(text) + ": threw " + error.code_string() + " (" + error.what() + "), not " + ta::code_name(code));
    }
    return error.what();
  } catch (const std::exception& error) {
    report(file, line, std::string(text) + ": threw something else: " + error.what());
    return error.what();
  }
  report(file, line, std::string(text) + ": did not throw");
  return {};
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// A folder of its own for one test, removed with it.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "torch-adapters-test-XXXXXX").string();
#ifdef _WIN32
    static int count = 0;
    path_ = name + std::to_string(++count) + std::to_string(std::rand());
    std::filesystem::create_directories(path_);
#else
    if (!mkdtemp(name.data())) std::abort();
    path_ = name;
#endif
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string file(const std::string& name) const {
    return path_ + "/" + name;
  }
  const std::string& path() const {
    return path_;
  }

 private:
  std::string path_;
};

inline std::string read_file(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

inline void write_file(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

// Tests run in the repository's root; TA_TEST_FIXTURES names another place.
inline std::string fixture(const std::string& name) {
  const char* folder = std::getenv("TA_TEST_FIXTURES");
  return std::string(folder ? folder : "test/core/fixtures") + "/" + name;
}

inline int run(int argc, char** argv) {
  int ran = 0, failed = 0;
  for (const Test& test : tests()) {
    bool wanted = argc < 2;
    for (int i = 1; i < argc; ++i) wanted = wanted || std::string(test.name).find(argv[i]) != std::string::npos;
    if (!wanted) continue;
    const int before = failures();
    try {
      test.body();
    } catch (const std::exception& error) {
      report(test.name, 0, std::string("unexpected exception: ") + error.what());
    }
    ++ran;
    if (failures() > before) ++failed;
    std::fprintf(stderr, "%s %s\n", failures() > before ? "FAIL" : "ok  ", test.name);
  }
  std::fprintf(stderr, "%d tests, %d failed\n", ran, failed);
  // A run that matched nothing proves nothing.
  return failed > 0 || ran == 0 ? 1 : 0;
}

}  // namespace check

#undef CHECK
#undef CHECK_EQ
#undef CHECK_NEAR
#undef CHECK_THROWS

#define TEST(name)                                                  \
  static void test_##name();                                        \
  static const check::Register register_##name(#name, test_##name); \
  static void test_##name()

#define CHECK(...)                                                                  \
  do {                                                                              \
    if (!(__VA_ARGS__)) check::report(__FILE__, __LINE__, "not so: " #__VA_ARGS__); \
  } while (false)

#define CHECK_EQ(a, ...) check::equal(a, __VA_ARGS__, #a, __FILE__, __LINE__)
#define CHECK_NEAR(a, b, tolerance) check::near(a, b, tolerance, #a, __FILE__, __LINE__)
// Gives the message: CHECK(contains(CHECK_THROWS(…), "expected")).
#define CHECK_THROWS(code, ...) \
  check::throws(                \
      code, [&] { (void)(__VA_ARGS__); }, #__VA_ARGS__, __FILE__, __LINE__)
