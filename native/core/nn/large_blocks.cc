#include "core/nn/large_blocks.h"

#include <c10/core/CPUAllocator.h>

#ifndef _WIN32

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <map>
#include <mutex>
#include <unordered_map>

namespace ta {

namespace {

// Below this the C library's own blocks are as fast and leave small holes; of 128 KiB and more, of all sizes, they made
// its memory three times as large as what lay in it.
constexpr size_t kLarge = size_t{1} << 17;
constexpr size_t kHugePage = size_t{1} << 21;
// Processors take addresses with the same last 12 bits for the same at first: blocks begin at eight places of a page.
constexpr size_t kPage = size_t{1} << 12, kPlaces = 8;

// Eight sizes to each power of two: at most an eighth is wasted, and sizes meet again.
size_t rounded(size_t n) {
  const size_t step = std::bit_floor(n) / 8;
  return (n + step - 1) / step * step;
}

class Blocks {
 public:
  void* take(size_t n) {
    const size_t size = rounded(n);
    const std::lock_guard lock(mutex_);
    // A block that is a quarter larger still serves; one beyond that waits for its own kind.
    if (auto found = free_.lower_bound(size); found != free_.end() && found->first <= size + size / 4) {
      const auto [length, data] = *found;
      free_.erase(found);
      kept_ -= length;
      return use(data, length, size);
    }
    while (!free_.empty() && used_ + kept_ + size > peak_) drop(std::prev(free_.end()));
    const size_t place = made_++ % kPlaces * (kPage / kPlaces);
    void* data = mmap(nullptr, size + place, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    TORCH_CHECK(data != MAP_FAILED, "no memory for a tensor of ", n, " bytes");
#ifdef MADV_HUGEPAGE
    if (size >= kHugePage) madvise(data, size, MADV_HUGEPAGE);
#endif
    return use(static_cast<char*>(data) + place, size, size);
  }

  /// False where the block is none of these.
  bool give(void* data) {
    const std::lock_guard lock(mutex_);
    const auto found = in_use_.find(data);
    if (found == in_use_.end()) return false;
    const auto [length, needed] = found->second;
    in_use_.erase(found);
    used_ -= length, needed_ -= needed, kept_ += length;
    // Before others of its length: what was freed last is still in the processor's caches.
    free_.emplace_hint(free_.lower_bound(length), length, data);
    return true;
  }

  void release() {
    const std::lock_guard lock(mutex_);
    while (!free_.empty()) drop(free_.begin());
    peak_ = needed_;
  }

 private:
  using Free = std::multimap<size_t, void*>;
  struct InUse {
    size_t length, needed;
  };
  void* use(void* data, size_t length, size_t needed) {
    in_use_.emplace(data, InUse{length, needed});
    used_ += length, needed_ += needed;
    // Of what was needed: counted by blocks, each that is too large would make room for another one.
    peak_ = std::max(peak_, needed_);
    return data;
  }
  void drop(Free::iterator at) {
    const auto [length, data] = *at;
    const size_t place = reinterpret_cast<uintptr_t>(data) % kPage;
    kept_ -= length;
    munmap(static_cast<char*>(data) - place, length + place);
    free_.erase(at);
  }

  std::mutex mutex_;
  Free free_;
  std::unordered_map<void*, InUse> in_use_;
  size_t made_ = 0, used_ = 0, needed_ = 0, kept_ = 0, peak_ = 0;
};

// Never destroyed: tensors of other threads may outlive main.
Blocks& blocks() {
  static auto* all = new Blocks;
  return *all;
}

class LargeBlocks : public at::Allocator {
 public:
  explicit LargeBlocks(at::Allocator* small) : small_(small) { small_free_ = small->raw_deleter(); }

  at::DataPtr allocate(size_t n) override {
    if (n < kLarge) return small_->allocate(n);
    void* data = blocks().take(n);
    return {data, data, &free, at::kCPU};
  }
  // Some callers (oneDNN) keep the bare pointer, large or small.
  at::DeleterFnPtr raw_deleter() const override { return &free; }
  void copy_data(void* to, const void* from, size_t n) const override { default_copy_data(to, from, n); }

 private:
  static void free(void* data) {
    if (!blocks().give(data)) small_free_(data);
  }

  at::Allocator* small_;
  static at::DeleterFnPtr small_free_;
};

at::DeleterFnPtr LargeBlocks::small_free_ = nullptr;

}  // namespace

void use_large_blocks() {
  static std::once_flag once;
  std::call_once(once, [] { at::SetCPUAllocator(new LargeBlocks(at::GetCPUAllocator())); });
}

void release_large_blocks() {
  blocks().release();
}

}  // namespace ta

#else

namespace ta {

void use_large_blocks() {}
void release_large_blocks() {}

}  // namespace ta

#endif
