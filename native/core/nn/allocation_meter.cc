#include "core/nn/allocation_meter.h"

#include <c10/core/CPUAllocator.h>

#ifdef __linux__
#include <unistd.h>
#endif

#include <algorithm>
#include <atomic>
#include <fstream>
#include <memory_resource>
#include <mutex>
#include <thread>
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

  // Before a tensor is made: to make room for it, blocks that the last ones have left may go back to the system.
  void look(int64_t bytes) {
    const std::lock_guard lock(mutex_);
    taken_ += bytes;
    if (taken_ < kSampleEvery) return;
    taken_ = 0;
    // Below the peak, too, since holes between tensors come later.
    process_ = std::max(process_, process_bytes());
  }

  void take(void* data, int64_t bytes) {
    const std::lock_guard lock(mutex_);
    auto& thread = threads_[std::this_thread::get_id()];
    tensors_[data] = {bytes, &thread};
    thread.used += bytes;
    thread.peak = std::max(thread.peak, thread.used);
    used_ += bytes;
    peak_ = std::max(peak_, used_);
    counted_.store(tensors_.size(), std::memory_order_relaxed);
  }

  // Of any tensor: those that were made while nobody measured are not known here.
  void give(void* data) {
    if (counted_.load(std::memory_order_relaxed) == 0) return;
    const std::lock_guard lock(mutex_);
    const auto found = tensors_.find(data);
    if (found == tensors_.end()) return;
    const auto [bytes, thread] = found->second;
    thread->used -= bytes;
    used_ -= bytes;
    tensors_.erase(found);
    counted_.store(tensors_.size(), std::memory_order_relaxed);
  }

  Peak measure(size_t parts, const std::function<void(size_t)>& work) {
    const std::lock_guard one(one_at_a_time_);
    int64_t before = 0, together = 0;
    {
      const std::lock_guard lock(mutex_);
      before = together = peak_ = used_;
      taken_ = process_ = 0;
    }
    running_ = true;
    try {
      for (size_t i = 0; i < parts; ++i) {
        begin_part();
        work(i);
        together = std::max(together, peaks_of_part());
      }
    } catch (...) {
      running_ = false;
      throw;
    }
    running_ = false;
    const std::lock_guard lock(mutex_);
    const auto process = std::max(process_, process_bytes());
    return {together - before, process == 0 ? 0 : process + together - peak_};
  }

 private:
  struct Thread {
    int64_t used = 0, peak = 0;  // of the tensors that it made, whoever frees them
  };
  struct Tensor {
    int64_t bytes;
    Thread* thread;
  };

  void begin_part() {
    const std::lock_guard lock(mutex_);
    for (auto& [id, thread] : threads_) thread.peak = thread.used;
  }
  int64_t peaks_of_part() {
    const std::lock_guard lock(mutex_);
    int64_t sum = 0;
    for (const auto& [id, thread] : threads_) sum += thread.peak;
    return sum;
  }

  std::mutex one_at_a_time_, mutex_;
  std::atomic<bool> running_{false};
  std::atomic<size_t> counted_{0};
  // Its nodes lie apart: among small tensors they would leave holes that a run without the meter has not.
  std::pmr::unsynchronized_pool_resource nodes_;
  std::pmr::unordered_map<void*, Tensor> tensors_{&nodes_};
  std::unordered_map<std::thread::id, Thread> threads_;
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
    meter().look(static_cast<int64_t>(n));
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

Peak peak_bytes(size_t parts, const std::function<void(size_t)>& work) {
  return meter().measure(parts, work);
}

}  // namespace ta
