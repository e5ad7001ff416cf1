#include "core/nn/amx_product.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cstring>

#include "core/nn/float_parts.h"
#include "core/nn/parallel.h"

namespace ta {

#if TA_HAS_AMX_TILE

namespace amx {
namespace {

// So many rows of x at a time: the parts of what is multiplied of them stay in the second cache.
constexpr int64_t kBlockRows = 256;
constexpr int64_t kWorthAPart = 4'000'000;

struct AmxProduct {
  const float *x, *w, *bias;  // bias null: none
  float* y;
  int64_t ldx, ldw, ldy, rows, columns, inner;  // columns, inner: multiples of 32
  bool adds;                                    // to what y holds
};

// Rows of x over a part of the inner dimension.
struct Block {
  int64_t first_row, rows, first, length;
  uint16_t* panels;

  int64_t steps() const { return length / kStep; }
  int64_t count() const { return (rows + kSide - 1) / kSide; }
  uint16_t* panel(int64_t i) const { return panels + i * steps() * kStepNumbers; }
};

TA_AMX_INLINE void fetch(const float* from) {
  __builtin_prefetch(from, 0, 3);
}

// Panels first .. last - 1 of a block's rows; zeros in rows that are not there.
TA_AMX void pack_rows(const AmxProduct& p, const Block& b, int64_t first, int64_t last) {
  for (int64_t i = first * kSide; i < last * kSide; i += kTileRows) {
    const int64_t there = std::clamp<int64_t>(b.rows - i, 0, kTileRows);
    uint16_t* tile = b.panel(i / kSide) + i % kSide * kStep;
    for (int64_t k = 0; k < b.length; k += kStep, tile += kStepNumbers) {
      const float* x = p.x + (b.first_row + i) * p.ldx + b.first + k;
      const Words zeros = _mm512_setzero_si512();
      for (int64_t r = 0; r < kTileRows; ++r, x += p.ldx) {
        const bool has = r < there;
        put_pairs(has ? words(x) : zeros, has ? words(x + kStep / 2) : zeros, tile + r * kStep, kPartNumbers);
      }
    }
  }
}

// What panels of w are made of, a line of a tile at a time: `panels` beside each other, of `steps` each. What lies
// `beyond`, which is read next, is fetched.
struct PanelSource {
  const float* w;
  int64_t ldw, steps, panels, beyond;
};

// By w's columns (g W): a line is a line of a tile as it stands. Panels beside each other are made at once, so that of
// each row of w a piece is read that is worth the way to it; the part is short, since each of its rows is a page.
class PanelsByColumns {
 public:
  static constexpr int64_t kPanels = 4, kPartLength = 192, kPanel = kPartLength / kStep * kStepNumbers;
  static int64_t along(int64_t ldw) { return ldw; }

  PanelsByColumns(const PanelSource& from, uint16_t* to, uint16_t* /*lines*/)
      : from_(from), to_(to), left_(from.panels * 2 * from.steps * kTileRows) {}

  int64_t left() const { return left_; }

  TA_AMX_INLINE void make_line() {
    const float* first = from_.w + line_ * from_.ldw + tile_ * kTileRows;
    const float* second = first + kStep / 2 * from_.ldw;
    fetch(first + from_.beyond), fetch(second + from_.beyond);
    put_pairs(words(first), words(second), to_ + tile_ / 2 * kPanel + tile_ % 2 * kTileNumbers + line_ * kStep,
              kPartNumbers);
    --left_;
    if (++tile_ < 2 * from_.panels) return;
    tile_ = 0;
    if (++line_ < kTileRows) return;
    line_ = 0, to_ += kStepNumbers, from_.w += kStep * from_.ldw;
  }

 private:
  PanelSource from_;
  uint16_t* to_;
  int64_t left_, tile_ = 0, line_ = 0;
};

// By w's rows (x Wᵀ): sixteen lines are turned, a quarter at a time.
class PanelsByRows {
 public:
  static constexpr int64_t kPanels = 1, kPartLength = 384, kPanel = kPartLength / kStep * kStepNumbers;
  static int64_t along(int64_t /*ldw*/) { return 1; }

  PanelsByRows(const PanelSource& from, uint16_t* to, uint16_t* lines)
      : from_(from), to_(to), lines_(lines), left_(from.panels * 2 * from.steps * kLines) {}

  int64_t left() const { return left_; }

  TA_AMX_INLINE void make_line() {
    if (line_ < kTileRows) {
      const float* first = from_.w + line_ * from_.ldw;
      fetch(first + from_.beyond), fetch(first + kStep / 2 + from_.beyond);
      put_pairs(words(first), words(first + kStep / 2), lines_ + line_ * kStep, kTileNumbers);
    } else {
      turn_quarter(lines_, line_ - kTileRows, to_);
    }
    --left_;
    if (++line_ == kLines) next_tile();
  }

 private:
  static constexpr int64_t kLines = kTileRows + 4;

  // A step has two tiles, of sixteen rows each.
  TA_AMX_INLINE void next_tile() {
    line_ = 0, second_ = !second_;
    const int64_t across = kTileRows * from_.ldw;
    from_.w += second_ ? across : kStep - across;
    to_ += second_ ? kTileNumbers : kStepNumbers - kTileNumbers;
  }

  PanelSource from_;
  uint16_t *to_, *lines_;
  int64_t left_, line_ = 0;
  bool second_ = false;
};

template <class Maker>
TA_AMX_INLINE void make(Maker& maker, int64_t lines) {
  for (int64_t n = std::min(lines, maker.left()); n > 0; --n) maker.make_line();
}

void copy_lines(const float* from, int64_t ld_from, int64_t lines, float* to, int64_t ld_to) {
  for (int64_t i = 0; i < lines; ++i) std::memcpy(to + i * ld_to, from + i * ld_from, kSide * sizeof(float));
}

// y's rows of panel i with columns j .. j + 31, while lines of the panels that come next are made. The bias is what the
// first part's sums begin with.
template <class Maker>
TA_AMX void one_panel(const AmxProduct& p, const Block& b, int64_t i, int64_t j, const uint16_t* w, Maker& maker,
                      int64_t lines) {
  auto next = maker;  // in registers: what is stored might be part of the other one
  const int64_t rows = std::min(kSide, b.rows - i * kSide);
  float* y = p.y + (b.first_row + i * kSide) * p.ldy + j;
  const bool adds = b.first > 0 || p.adds, biased = !adds && p.bias != nullptr;
  // A panel that is not full has zeros behind its rows.
  const bool full = rows == kSide;
  alignas(64) float whole[kSide * kSide];
  if (!full && adds) copy_lines(y, p.ldy, rows, whole, kSide);
  float* to = full ? y : whole;
  const int64_t ld = full ? p.ldy : kSide;
  const PanelSums sums{to, adds ? to : biased ? p.bias + j : nullptr, ld, adds ? ld : 0};
  const auto work = [&]() TA_AMX_HERE { make(next, lines); };
  if (rows > kTileRows) {
    multiply<2>(b.panel(i), w, b.steps(), sums, work);
  } else {
    multiply<1>(b.panel(i), w, b.steps(), sums, work);
  }
  if (!full) copy_lines(whole, kSide, rows, y, p.ldy);
  maker = next;
}

// All rows of a block with panels first .. last - 1 of columns. Of two places one is multiplied, one is made.
template <class Maker>
TA_AMX void block_columns(const AmxProduct& p, const Block& b, int64_t first, int64_t last) {
  constexpr int64_t kPlace = Maker::kPanels * Maker::kPanel;
  const Tiles tiles;
  uint16_t* memory = wide::kept<Maker, uint16_t>(2 * kPlace + kParts * kTileNumbers);
  const int64_t along = Maker::along(p.ldw), across = kSide * (along == 1 ? p.ldw : 1);
  const auto panels_at = [&](int64_t j) { return std::clamp<int64_t>(last - j, 0, Maker::kPanels); };
  const auto maker = [&](int64_t j, uint16_t* to) {
    // Beside the last panel of these comes the first one of the next part.
    const int64_t next = j + Maker::kPanels;
    const int64_t beyond = next < last ? Maker::kPanels * across : (first - j) * across + b.length * along;
    return Maker({p.w + j * across + b.first * along, p.ldw, b.steps(), panels_at(j), beyond}, to, memory + 2 * kPlace);
  };
  uint16_t *made = memory, *other = memory + kPlace;
  auto next = maker(first, made);
  make(next, next.left());
  for (int64_t j = first; j < last; j += Maker::kPanels, std::swap(made, other)) {
    next = maker(j + Maker::kPanels, other);
    const int64_t pauses = kPauses * panels_at(j) * b.count() * b.steps();
    const int64_t lines = (next.left() + pauses - 1) / pauses;
    for (int64_t i = 0; i < b.count(); ++i) {
      for (int64_t q = 0; q < panels_at(j); ++q) {
        one_panel(p, b, i, (j + q) * kSide, made + q * Maker::kPanel, next, lines);
      }
    }
    make(next, next.left());
  }
}

template <class Maker>
void compute(const AmxProduct& p) {
  uint16_t* panels = wide::kept<AmxProduct, uint16_t>(kBlockRows * PanelsByRows::kPartLength * kParts);
  const int64_t height = wide::even_part(p.rows, kBlockRows, kSide);
  const int64_t length = wide::even_part(p.inner, Maker::kPartLength, kStep);
  for (int64_t row = 0; row < p.rows; row += height) {
    for (int64_t first = 0; first < p.inner; first += length) {
      const Block b{row, std::min(height, p.rows - row), first, std::min(length, p.inner - first), panels};
      const auto grain = [&](int64_t work) { return std::max<int64_t>(1, kWorthAPart / (work * b.length)); };
      parallel_for(0, b.count(), grain(16 * kSide), [&](int64_t i, int64_t end) { pack_rows(p, b, i, end); });
      parallel_for(0, p.columns / kSide, grain(b.rows * kSide),
                   [&](int64_t j, int64_t end) { block_columns<Maker>(p, b, j, end); });
    }
  }
}

// y = x wᵀ + bias, or y + that; whole steps, whole panels.
void put_whole_product(const at::Tensor& x, const at::Tensor& w, const at::Tensor& bias, const at::Tensor& y,
                       bool adds) {
  const bool by_rows = w.stride(1) == 1;
  const AmxProduct p{x.const_data_ptr<float>(),
                     w.const_data_ptr<float>(),
                     bias.defined() ? bias.const_data_ptr<float>() : nullptr,
                     y.mutable_data_ptr<float>(),
                     x.stride(0),
                     w.stride(by_rows ? 0 : 1),
                     y.stride(0),
                     x.size(0),
                     w.size(0),
                     x.size(1),
                     adds};
  by_rows ? compute<PanelsByRows>(p) : compute<PanelsByColumns>(p);
}

// The last numbers along a dimension, fewer than 32, beside zeros.
at::Tensor last_of(const at::Tensor& x, int64_t dimension, int64_t first) {
  auto sizes = x.sizes().vec();
  sizes[dimension] = kSide;
  auto whole = at::zeros(sizes, x.options());
  const int64_t count = x.size(dimension) - first;
  whole.narrow(dimension, 0, count).copy_(x.narrow(dimension, first, count));
  return whole;
}

// y = x wᵀ + bias, or y + that.
void put_product(const at::Tensor& x, const at::Tensor& w, const at::Tensor& bias, const at::Tensor& y, bool adds) {
  const int64_t columns = w.size(0), inner = x.size(1);
  const int64_t whole_columns = columns - columns % kSide, whole_inner = inner - inner % kStep;
  const auto panels = w.narrow(0, 0, whole_columns);
  put_whole_product(x.narrow(1, 0, whole_inner), panels.narrow(1, 0, whole_inner), bias, y, adds);
  if (whole_inner < inner) put_whole_product(last_of(x, 1, whole_inner), last_of(panels, 1, whole_inner), {}, y, true);
  if (whole_columns == columns) return;
  auto rest = y.narrow(1, whole_columns, columns - whole_columns);
  const auto last = at::empty({x.size(0), kSide}, x.options());
  put_product(x, last_of(w, 0, whole_columns), bias.defined() ? last_of(bias, 0, whole_columns) : bias, last, false);
  const auto numbers = last.narrow(1, 0, columns - whole_columns);
  adds ? rest.add_(numbers) : rest.copy_(numbers);
}

}  // namespace
}  // namespace amx

bool amx_product_runs(const at::Tensor& x, const at::Tensor& w) {
  if (!amx::fast() || !wide::is_float_matrix(x) || !wide::is_float_matrix(w)) return false;
  if (x.size(1) < amx::kStep || w.size(0) < amx::kSide || x.stride(1) != 1) return false;
  return w.stride(1) == 1 || wide::are_columns_dense(w);
}

at::Tensor amx_product(const at::Tensor& x, const at::Tensor& w, const at::Tensor& bias) {
  auto y = at::empty({x.size(0), w.size(0)}, x.options());
  amx::put_product(x, w, bias.defined() ? bias.contiguous() : bias, y, false);
  return y;
}

void amx_add_product(at::Tensor& y, const at::Tensor& x, const at::Tensor& w) {
  amx::put_product(x, w, {}, y, true);
}

#else

bool amx_product_runs(const at::Tensor&, const at::Tensor&) {
  return false;
}
at::Tensor amx_product(const at::Tensor&, const at::Tensor&, const at::Tensor&) {
  return {};
}
void amx_add_product(at::Tensor&, const at::Tensor&, const at::Tensor&) {}

#endif

}  // namespace ta
