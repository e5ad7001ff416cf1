// Damaged files, many of them: whatever the bytes, a reader returns or throws ta::Error, at once and in little memory.
// TA_FUZZ files of each kind (500 unless told), from TA_FUZZ_SEED on (1); a failure names the seed that repeats it.
#pragma once

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstring>
#include <random>

#include "core/state/state_dict.h"
#include "tensors.h"

#ifndef _WIN32
#include <sys/resource.h>
#include <unistd.h>
#endif

namespace check {

inline constexpr double seconds_allowed = 5;
inline volatile unsigned current_seed = 0;
inline const char* volatile current_kind = "";

inline unsigned from_environment(const char* name, unsigned fallback) {
  const char* value = std::getenv(name);
  return value ? static_cast<unsigned>(std::strtoul(value, nullptr, 10)) : fallback;
}

#ifndef _WIN32
// Async-signal-safe: says which input it was before the process goes down.
inline void tell(int signal) {
  char line[128];
  std::size_t size = 0;
  const auto add = [&](const char* part) {
    while (*part && size < sizeof line) line[size++] = *part++;
  };
  char digits[12];
  char* digit = digits + sizeof digits - 1;
  *digit = '\0';
  unsigned seed = current_seed;
  do {
    *--digit = static_cast<char>('0' + seed % 10);
    seed /= 10;
  } while (seed > 0);
  add("crash or hang in ");
  add(current_kind);
  add(", TA_FUZZ_SEED=");
  add(digit);
  add("\n");
  (void)!::write(2, line, size);
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

// What the process uses now and 1 GB more: a length field that is believed does not fit.
inline void limit_memory() {
#if defined(__linux__) && !defined(__SANITIZE_ADDRESS__)
  std::ifstream statm("/proc/self/statm");
  unsigned long pages = 0;
  statm >> pages;
  const rlim_t limit = pages * static_cast<rlim_t>(::sysconf(_SC_PAGESIZE)) + (rlim_t{1} << 30);
  const rlimit both{limit, limit};
  CHECK_EQ(::setrlimit(RLIMIT_AS, &both), 0);
#endif
}
#endif

inline void prepare() {
  static bool done = false;
  if (done) return;
  done = true;
#ifndef _WIN32
  // Threads and libraries that are brought up on first use must not count.
  counting({8}).to(at::kHalf);
  limit_memory();
  for (const int signal : {SIGALRM, SIGABRT, SIGFPE, SIGBUS}) std::signal(signal, tell);
#ifndef __SANITIZE_ADDRESS__
  std::signal(SIGSEGV, tell);
#endif
#endif
}

class Mutator {
 public:
  explicit Mutator(unsigned seed) : random_(seed) {}

  std::size_t below(std::size_t limit) { return limit ? random_() % limit : 0; }

  std::string mutate(std::string bytes) {
    // Mostly one change: what passes the first checks reaches the deeper ones.
    const std::size_t changes = below(3) ? 1 : 1 + below(4);
    for (std::size_t i = 0; i < changes; ++i) change(bytes);
    return bytes;
  }

 private:
  void change(std::string& bytes) {
    const std::size_t at = below(bytes.size());
    switch (below(8)) {
      case 0:
        if (!bytes.empty()) bytes[at] ^= static_cast<char>(1 << below(8));
        break;
      case 1:
        if (!bytes.empty()) bytes[at] = static_cast<char>(random_());
        break;
      case 2:
        bytes.erase(at, 1 + below(16));
        break;
      case 3:
        bytes.insert(at, bytes.substr(below(bytes.size()), 1 + below(64)));
        break;
      case 4:
        bytes.resize(at);
        break;
      case 5:
        overwrite_number(bytes, at);
        break;
      case 6:
        bytes.insert(at, std::string(1 + below(2000), static_cast<char>(random_())));
        break;
      default: {
        const std::size_t other = below(bytes.size());
        if (!bytes.empty()) std::swap(bytes[at], bytes[other]);
      }
    }
  }

  // The numbers at which sizes go wrong.
  void overwrite_number(std::string& bytes, std::size_t at) {
    static constexpr uint64_t numbers[] = {0,
                                           1,
                                           0x7F,
                                           0xFF,
                                           0x7FFF,
                                           0xFFFF,
                                           0x7FFFFFFF,
                                           0xFFFFFFFF,
                                           0x100000000,
                                           0x7FFFFFFFFFFFFFFF,
                                           0x8000000000000000,
                                           0xFFFFFFFFFFFFFFFF};
    const uint64_t number = numbers[below(std::size(numbers))];
    const std::size_t size = std::min<std::size_t>(std::size_t{1} << below(4), bytes.size() - at);
    std::memcpy(bytes.data() + at, &number, size);
  }

  std::mt19937 random_;
};

// Every element must be there to read, whatever the header said.
inline double touch(const ta::StateDict& tensors) {
  double sum = 0;
  for (const auto& entry : tensors) {
    const at::Tensor dense = entry.second.contiguous();
    const auto* bytes = static_cast<const uint8_t*>(dense.const_data_ptr());
    for (std::size_t i = 0; i < dense.nbytes(); ++i) sum += bytes[i];
  }
  return sum;
}

// Runs `read` on the originals in turn as `change(mutator, original)` makes them; `accepted` counts those that were
// still readable.
template <class Change, class Read>
void fuzz_changed(const char* kind, const std::vector<std::string>& originals, Change change, Read read) {
  prepare();
  for (const std::string& original : originals) {
    CHECK(!original.empty());
    read(original);
  }
  const unsigned first = from_environment("TA_FUZZ_SEED", 1);
  const unsigned count = from_environment("TA_FUZZ", 500);
  unsigned accepted = 0, refused = 0;
  double slowest = 0;
  current_kind = kind;
  for (unsigned seed = first; seed < first + count; ++seed) {
    current_seed = seed;
    Mutator mutator(seed);
    const std::string bytes = change(mutator, originals[seed % originals.size()]);
    const auto start = std::chrono::steady_clock::now();
#ifndef _WIN32
    ::alarm(60);
#endif
    try {
      read(bytes);
      ++accepted;
    } catch (const ta::Error& error) {
      ++refused;
      if (std::string(error.what()).size() > 4000) report(kind, static_cast<int>(seed), "an endless message");
    } catch (const std::exception& error) {
      report(kind, static_cast<int>(seed), std::string("not a ta::Error: ") + error.what());
    }
#ifndef _WIN32
    ::alarm(0);
#endif
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    slowest = std::max(slowest, seconds);
    if (seconds > seconds_allowed) report(kind, static_cast<int>(seed), ta::text(seconds, " seconds"));
  }
  std::fprintf(stderr, "  %s: seeds %u to %u, %u refused, %u readable, slowest %.3f s\n", kind, first,
               first + count - 1, refused, accepted, slowest);
  // A mutator that never breaks anything, or a reader that refuses everything, tests nothing.
  CHECK(refused > 0 || count < 50);
}

template <class Read>
void fuzz(const char* kind, const std::vector<std::string>& originals, Read read) {
  fuzz_changed(
      kind, originals, [](Mutator& mutator, const std::string& bytes) { return mutator.mutate(bytes); }, read);
}

}  // namespace check
