#include "core/nn/amx_tile.h"

#if TA_HAS_AMX_TILE

#include <ATen/cpu/Utils.h>

namespace ta::amx {

bool fast() {
  static const bool answer = [] {
    if (!wide::fast()) return false;
    const auto capabilities = at::cpu::get_cpu_capabilities();
    for (const char* name : {"amx_tile", "amx_bf16"}) {
      const auto found = capabilities.find(name);
      if (found == capabilities.end() || !found->second.isBool() || !found->second.toBool()) return false;
    }
    return at::cpu::init_amx();  // asks the system, which keeps tiles' registers for threads that may use them
  }();
  return answer;
}

}  // namespace ta::amx

#endif
