#include "core/nn/allocation_meter.h"

#include <c10/core/CPUAllocator.h>

#ifdef __linux__
#include <unistd.h>
#endif

#include <algorithm>
#include <atomic>
#include <fstream>
#include <mutex>
#include <unordered_map>

namespace ta {

namespace {

constexpr int64_t kSampleEvery = int64_t{2} << 20;

int64_t process_bytes() {
#ifdef __linux__
  // In pages: all that is mapped, what is resident, and what of that lies in files.
  int64_t mapped = 0, resident = 0, of_files = 0;
  if (std::ifstream("/proc/self/statm") >> mapped >> resident >> of_files)
    return (resident - of_files) * sysconf(_SC_PAGESIZE);
#endif
  return 0;
}

class Meter {
 public:
  bool running() const { return running_.load(std::memory_order_relaxed); }

  void take(void* data, int64_t bytes) {
    const std::lock_guard lock(mutex_);
    sizes_[data] = bytes;
    used_ += bytes;
    peak_ = std::max(peak_, used_);
    // Blocks are not written to before this: what is seen is what was there a tensor before. Below the peak, too, since
    // holes between tensors come later.
    taken_ += bytes;
    if (taken_ >= kSampleEvery) {
      taken_ = 0;
      process_ = std::max(process_, process_bytes());
    }
    counted_.store(sizes_.size(), std::memory_order_relaxed);
  }

  // Of any tensor: those that were made while nobody measured are not known here.
  void give(void* data) {
    if (counted_.load(std::memory_order_relaxed) == 0) return;
    const std::lock_guard lock(mutex_);
    const auto found = sizes_.find(data);
    if (found == sizes_.end()) return;
    used_ -= found->second;
    sizes_.erase(found);
    counted_.store(sizes_.size(), std::memory_order_relaxed);
  }

  Peak measure(const std::function<void()>& work) {
    const std::lock_guard one(one_at_a_time_);
    int64_t before = 0;
    {
      const std::lock_guard lock(mutex_);
      before = peak_ = used_;
      taken_ = process_ = 0;
    }
    running_ = true;
    try {
      work();
    } catch (...) {
      running_ = false;
      throw;
    }
    running_ = false;
    const std::lock_guard lock(mutex_);
    return {peak_ - before, std::max(process_, process_bytes())};
  }

 private:
  std::mutex one_at_a_time_, mutex_;
  std::atomic<bool> running_{false};
  std::atomic<size_t> counted_{0};
  std::unordered_map<void*, int64_t> sizes_;
  int64_t used_ = 0, peak_ = 0, taken_ = 0, process_ = 0;
};

// Never destroyed: tensors of other threads may outlive main.
Meter& meter() {
  static auto* one = new Meter;
  return *one;
}

class MeteredAllocator : public at::Allocator {
 public:
  explicit MeteredAllocator(at::Allocator* below) : below_(below) { free_below_ = below->raw_deleter(); }

  at::DataPtr allocate(size_t n) override {
    if (n == 0 || !meter().running()) return below_->allocate(n);
    void* data = below_->raw_allocate(n);
    meter().take(data, static_cast<int64_t>(n));
    return {data, data, &free, at::kCPU};
  }
  at::DeleterFnPtr raw_deleter() const override { return &free; }
  void copy_data(void* to, const void* from, size_t n) const override { default_copy_data(to, from, n); }

 private:
  static void free(void* data) {
    meter().give(data);
    free_below_(data);
  }

  at::Allocator* below_;
  static at::DeleterFnPtr free_below_;
};

at::DeleterFnPtr MeteredAllocator::free_below_ = nullptr;

}  // namespace

void meter_allocations() {
  static std::once_flag once;
  std::call_once(once, [] { at::SetCPUAllocator(new MeteredAllocator(at::GetCPUAllocator())); });
}

Peak peak_bytes(const std::function<void()>& work) {
  return meter().measure(work);
}

}  // namespace ta
