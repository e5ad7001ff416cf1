#include "core/nn/short_attention.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include "core/nn/head_product.h"
#include "core/nn/lanes.h"
#include "core/nn/parallel.h"

namespace ta {

#if TA_HAS_LANES

namespace {

using lanes::Floats;
using lanes::kWidth;

// Below so many multiply-adds a second thread costs more than it saves.
constexpr int64_t kWorthThreads = 200'000;

int64_t rounded(int64_t n) {
  return (n + kWidth - 1) / kWidth * kWidth;
}

// One head of one row.
struct Piece {
  int64_t asked, seen;        // queries, keys
  int64_t query, key;         // the row's first tokens
  int64_t size, head, heads;  // numbers of a head, which one, of how many
  bool causal;
  float scale;

  int64_t columns() const { return rounded(seen); }
  /// The keys that query i sees: where causal, the last query is the last key's token.
  int64_t visible(int64_t i) const { return causal && asked > 1 ? seen - asked + i + 1 : seen; }
};

// The numbers of one head in one row: tokens lie `step` numbers apart.
template <class Number>
struct Tokens {
  Number* first;
  int64_t step;
  Number* operator[](int64_t i) const { return first + i * step; }
};
using Read = Tokens<const float>;
using Write = Tokens<float>;

Read read(const at::Tensor& x, int64_t token, const Piece& p) {
  return {x.const_data_ptr<float>() + token * x.stride(0) + p.head * p.size, x.stride(0)};
}
Write write(const at::Tensor& x, int64_t token, const Piece& p) {
  return {x.mutable_data_ptr<float>() + token * x.stride(0) + p.head * p.size, x.stride(0)};
}

// What a thread needs besides: two tables [asked, columns] and two transposed heads [size, columns].
class Scratch {
 public:
  Scratch(int64_t asked, int64_t seen, int64_t size)
      : table_(asked * rounded(seen)), turned_(size * rounded(seen)), data_(new float[2 * (table_ + turned_)]) {}
  float* weights() { return data_.get(); }
  float* grads() { return data_.get() + table_; }
  float* turned() { return data_.get() + 2 * table_; }

 private:
  int64_t table_, turned_;
  std::unique_ptr<float[]> data_;
};

// s [asked, columns] = q kᵀ / √d, and the lowest float where a query sees nothing.
TA_INLINE void scores(const Piece& p, Read q, Read k, float* turned, float* s) {
  const int64_t columns = p.columns();
  lanes::transpose(p.seen, p.size, k.first, k.step, turned, columns);
  head_product(p.asked, columns, p.size, {q.first, q.step, 1}, turned, columns, s, columns);
  for (int64_t i = 0; i < p.asked; ++i) {
    float* line = s + i * columns;
    for (int64_t j = 0; j < columns; j += kWidth) lanes::store(line + j, lanes::load(line + j) * p.scale);
    std::fill(line + p.visible(i), line + columns, std::numeric_limits<float>::lowest());
  }
}

// line [columns] becomes its softmax, 0 behind `visible`; the log of the sum of e^line.
TA_INLINE float softmax(float* line, int64_t columns, int64_t visible) {
  Floats most = lanes::load(line);
  for (int64_t j = kWidth; j < columns; j += kWidth) {
    const Floats x = lanes::load(line + j);
    most = x > most ? x : most;
  }
  const float top = lanes::most(most);
  Floats sums = lanes::all(0);
  for (int64_t j = 0; j < columns; j += kWidth) {
    const Floats e = lanes::exp(lanes::load(line + j) - top);
    lanes::store(line + j, e);
    sums += e;
  }
  const float sum = lanes::sum(sums), share = 1 / sum;
  for (int64_t j = 0; j < columns; j += kWidth) lanes::store(line + j, lanes::load(line + j) * share);
  std::fill(line + visible, line + columns, 0.0F);
  return top + std::log(sum);
}

TA_LANES void forward_piece(const Piece& p, Read q, Read k, Read v, Write out, float* lse, Scratch& scratch) {
  float* s = scratch.weights();
  const int64_t columns = p.columns();
  scores(p, q, k, scratch.turned(), s);
  for (int64_t i = 0; i < p.asked; ++i) {
    const float log_sum = softmax(s + i * columns, columns, p.visible(i));
    if (lse != nullptr) lse[i * p.heads] = log_sum;
  }
  head_product(p.asked, p.size, p.seen, {s, columns, 1}, v.first, v.step, out.first, out.step);
}

struct PieceGrads {
  Write q, k, v;
};

TA_LANES void backward_piece(const Piece& p, Read g, Read q, Read k, Read v, Read out, const float* lse,
                             const PieceGrads& d, Scratch& scratch) {
  float *w = scratch.weights(), *dw = scratch.grads();
  const int64_t columns = p.columns();
  scores(p, q, k, scratch.turned(), w);
  lanes::transpose(p.seen, p.size, v.first, v.step, scratch.turned(), columns);
  head_product(p.asked, columns, p.size, {g.first, g.step, 1}, scratch.turned(), columns, dw, columns);
  for (int64_t i = 0; i < p.asked; ++i) {
    Floats dots = lanes::all(0);
    for (int64_t c = 0; c < p.size; c += kWidth) dots += lanes::load(g[i] + c) * lanes::load(out[i] + c);
    const float delta = lanes::sum(dots), log_sum = lse[i * p.heads];
    float *line = w + i * columns, *dline = dw + i * columns;
    for (int64_t j = 0; j < columns; j += kWidth) {
      const Floats weight = lanes::exp(lanes::load(line + j) - log_sum);
      lanes::store(line + j, weight);
      lanes::store(dline + j, weight * (lanes::load(dline + j) - delta) * p.scale);
    }
    std::fill(line + p.visible(i), line + columns, 0.0F);
    std::fill(dline + p.visible(i), dline + columns, 0.0F);
  }
  head_product(p.seen, p.size, p.asked, {w, 1, columns}, g.first, g.step, d.v.first, d.v.step);
  head_product(p.asked, p.size, p.seen, {dw, columns, 1}, k.first, k.step, d.q.first, d.q.step);
  head_product(p.seen, p.size, p.asked, {dw, 1, columns}, q.first, q.step, d.k.first, d.k.step);
}

// Numbers of a token side by side, as the pieces read them.
at::Tensor readable(const at::Tensor& x) {
  return x.stride(1) == 1 ? x : x.contiguous();
}

// The pieces of a range of rows, shared out among the threads: neighbours go to different threads, because rows are
// sorted by length.
template <class Run>
void for_each_piece(const RowLayout& queries, const RowLayout& keys, RowRange rows, int64_t heads, int64_t size,
                    bool causal, Run run) {
  const int64_t pieces = (rows.last - rows.first) * heads;
  int64_t asked = 0, seen = 0, work = 0;
  for (int64_t row = rows.first; row < rows.last; ++row) {
    asked = std::max(asked, queries.length(row));
    seen = std::max(seen, keys.length(row));
    work += queries.length(row) * keys.length(row) * heads * size;
  }
  const auto scale = static_cast<float>(1 / std::sqrt(static_cast<double>(size)));
  const int64_t threads = work < kWorthThreads ? 1 : std::min<int64_t>(at::get_num_threads(), pieces);
  parallel_for(0, threads, 1, [&](int64_t from, int64_t to) {
    Scratch scratch(asked, seen, size);
    for (int64_t thread = from; thread < to; ++thread) {
      for (int64_t i = thread; i < pieces; i += threads) {
        const int64_t row = rows.first + i / heads;
        run(Piece{queries.length(row), keys.length(row), queries.starts()[row], keys.starts()[row], size, i % heads,
                  heads, causal, scale},
            scratch);
      }
    }
  });
}

}  // namespace

bool short_attention_serves(const at::Tensor& q, int64_t heads) {
  const int64_t size = q.size(1) / heads;
  return q.device().is_cpu() && q.scalar_type() == at::kFloat && size % kWidth == 0 && size <= 128 && lanes::fast();
}

void short_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const RowLayout& queries,
                     const RowLayout& keys, RowRange rows, int64_t heads, bool causal, const at::Tensor& out,
                     const at::Tensor& logsumexp) {
  const auto qs = readable(q), ks = readable(k), vs = readable(v);
  for_each_piece(queries, keys, rows, heads, q.size(1) / heads, causal, [&](const Piece& p, Scratch& scratch) {
    float* lse = logsumexp.defined() ? logsumexp.mutable_data_ptr<float>() + p.query * heads + p.head : nullptr;
    forward_piece(p, read(qs, p.query, p), read(ks, p.key, p), read(vs, p.key, p), write(out, p.query, p), lse,
                  scratch);
  });
}

void short_attention_backward(const at::Tensor& grad, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                              const at::Tensor& out, const at::Tensor& logsumexp, const RowLayout& queries,
                              const RowLayout& keys, RowRange rows, int64_t heads, bool causal, const at::Tensor& dq,
                              const at::Tensor& dk, const at::Tensor& dv) {
  const auto qs = readable(q), ks = readable(k), vs = readable(v);
  for_each_piece(queries, keys, rows, heads, q.size(1) / heads, causal, [&](const Piece& p, Scratch& scratch) {
    const auto* lse = logsumexp.const_data_ptr<float>() + p.query * heads + p.head;
    backward_piece(p, read(grad, p.query, p), read(qs, p.query, p), read(ks, p.key, p), read(vs, p.key, p),
                   read(out, p.query, p), lse, {write(dq, p.query, p), write(dk, p.key, p), write(dv, p.key, p)},
                   scratch);
  });
}

#else  // no vectors that every compiler here knows: libtorch's kernel serves all rows

bool short_attention_serves(const at::Tensor&, int64_t) {
  return false;
}
void short_attention(const at::Tensor&, const at::Tensor&, const at::Tensor&, const RowLayout&, const RowLayout&,
                     RowRange, int64_t, bool, const at::Tensor&, const at::Tensor&) {}
void short_attention_backward(const at::Tensor&, const at::Tensor&, const at::Tensor&, const at::Tensor&,
                              const at::Tensor&, const at::Tensor&, const RowLayout&, const RowLayout&, RowRange,
                              int64_t, bool, const at::Tensor&, const at::Tensor&, const at::Tensor&) {}

#endif

}  // namespace ta
