#include "core/nn/head_product.h"

#include <cstring>

#include "core/nn/lanes.h"
#include "core/nn/wide_tile.h"

namespace ta {

#if TA_HAS_LANES

namespace {

namespace eight {
#define TA_TILE_ISA TA_LANES
#define TA_TILE_WIDTH 8
#include "core/nn/head_product_tiles.h"
}  // namespace eight

#if TA_HAS_WIDE_TILE
namespace sixteen {
#define TA_TILE_ISA TA_WIDE
#define TA_TILE_WIDTH 16
#include "core/nn/head_product_tiles.h"
}  // namespace sixteen
#endif

}  // namespace

void head_product(int64_t rows, int64_t columns, int64_t inner, HeadMatrix a, const float* b, int64_t ldb, float* c,
                  int64_t ldc) {
  int64_t done = 0;
#if TA_HAS_WIDE_TILE
  if (wide::fast()) done = sixteen::columns_of_tiles(rows, columns, inner, a, b, ldb, c, ldc);
#endif
  if (done < columns) eight::columns_of_tiles(rows, columns - done, inner, a, b + done, ldb, c + done, ldc);
}

#endif

}  // namespace ta
