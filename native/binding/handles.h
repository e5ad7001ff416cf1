#pragma once
// The JavaScript objects of an environment that stand for something native. While an environment ends, none of them may
// be collected any more: Node-API puts a collected object's finalizer off until the next turn, and where the
// environment is torn down in between, Node (seen with 20) looks into the queue of an environment that it has just
// freed. So the clean-up makes all of them strong first; what is strong at the end is finalized with the environment.

#include <memory>
#include <unordered_set>

#include "binding/napi.h"

namespace ta::binding {

class Handles {
 public:
  using Object = Napi::Reference<Napi::Object>;

  /// Keeps every living object from now on.
  void hold_all() {
    for (auto* object : living_) object->Ref();
  }

  /// A member of each wrap: it counts as living as long as this does.
  class Entry {
   public:
    Entry() = default;
    Entry(std::shared_ptr<Handles> handles, Object& object) : handles_(std::move(handles)), object_(&object) {
      handles_->living_.insert(object_);
    }
    Entry(const Entry&) = delete;
    Entry& operator=(Entry&& other) noexcept {
      std::swap(handles_, other.handles_);
      std::swap(object_, other.object_);
      return *this;
    }
    ~Entry() {
      if (handles_) handles_->living_.erase(object_);
    }

   private:
    std::shared_ptr<Handles> handles_;
    Object* object_ = nullptr;
  };

 private:
  std::unordered_set<Object*> living_;
};

}  // namespace ta::binding
