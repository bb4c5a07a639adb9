// Products of routed experts: every expert's rows by its own weights, all in one call.
//
// A product is made of tiles of ROWS x COLUMNS sums that stay in registers. The right-hand side is repacked a panel of
// COLUMNS at a time, so that a tile reads it in order and from the nearest cache. Sums are fp32 and run in order: a row's result does not depend on the rows beside it.
//
// Sizes are multiples of LANES, but the number of rows, which is free. Matrices are dense and row by row.

#include <algorithm>
#include <vector>

#include "blocks.h"
#include "vectors.h"

namespace {

// Of a tile: 6 sums to a vector of the panel, beside these vectors and a broadcast (AVX-512: 24 + 4 + 1 of 32 registers).
constexpr int ROWS = 6, VECTORS = REGISTERS / 8;
constexpr int COLUMNS = VECTORS * LANES;

// What one task makes of a gradient, and how many units it sums at a time: its operands stay in a cache of 1 MB.
constexpr int64_t STRIP = 288, WIDTH = 512, CHUNK = 256;
static_assert(STRIP % ROWS == 0 && STRIP % LANES == 0 && WIDTH % COLUMNS == 0);

// How many vectors a tile has whose first of N columns is n.
int vectors_at(int64_t n, int64_t N) { return std::min<int64_t>(COLUMNS, N - n) / LANES; }

// One unit from each of LANES columns: of this row, or of this row and the next (zero where there is none).
template <typename T> floats load_units(const T* row, int64_t stride, bool has_next) {
  if constexpr (std::is_same_v<T, float>) return load(row);
  else return pairs(row, has_next ? row + stride : nullptr);
}

// Whole cache lines past the caches: what nobody reads soon, at an address that is a multiple of 64 bytes.
template <typename T, int V> void stream_all(T* to, const floats* values) {
  for (int j = 0; j < V; j += PER_UNIT<T>) {
    if constexpr (std::is_same_v<T, float>) stream(to + j * LANES, values[j]);
    else stream(to + j * LANES, values[j], values[j + 1]);
  }
}

// What a tile adds up: start + a [M, steps] times b [steps, 16 V], in units. `start` has `start_stride` from row to
// row; nullptr is zero.
struct Operands {
  const unit* a;
  int64_t a_stride;
  const unit* b;
  int64_t steps;
  const float* start;
  int64_t start_stride;
};

template <typename T> struct Target {
  T* at;
  int64_t stride;
  bool streams;
};

template <typename T, typename Out, int M, int V> void tile(const Operands& of, const Target<Out>& to) {
  floats sums[M][V];
  for (int i = 0; i < M; i++)
    for (int j = 0; j < V; j++)
      sums[i][j] = of.start ? load(of.start + i * of.start_stride + j * LANES) : zero();
  const unit *a = of.a, *b = of.b;
  for (int64_t k = 0; k < of.steps; k++, b += V * LANES) {
    floats row[V];
#pragma GCC unroll 4
    for (int j = 0; j < V; j++) row[j] = load(b + j * LANES);
#pragma GCC unroll 6
    for (int i = 0; i < M; i++) {
      floats value = set(a[i * of.a_stride + k]);
#pragma GCC unroll 4
      for (int j = 0; j < V; j++) sums[i][j] = multiply_add<T>(sums[i][j], value, row[j]);
    }
  }
  for (int i = 0; i < M; i++) {
    Out* out = to.at + i * to.stride;
    if constexpr (V % PER_UNIT<Out> == 0)
      if (to.streams) {
        stream_all<Out, V>(out, sums[i]);
        continue;
      }
    for (int j = 0; j < V; j++) store(out + j * LANES, sums[i][j]);
  }
}

// The tile of up to ROWS rows and VECTORS vectors.
template <typename T, typename Out, int M = ROWS, int V = VECTORS>
inline void any_tile(int64_t rows, int vectors, const Operands& of, const Target<Out>& to) {
  if constexpr (M > 1)
    if (rows < M) return any_tile<T, Out, M - 1, V>(rows, vectors, of, to);
  if constexpr (V > 1)
    if (vectors < V) return any_tile<T, Out, M, V - 1>(rows, vectors, of, to);
  tile<T, Out, M, V>(of, to);
}

// w [16 V, steps] -> b [steps, 16 V]. The next rows are asked for ahead: memory, not packing, takes the time.
void pack_transposed(const unit* w, int64_t stride, int64_t steps, int vectors, unit* b) {
  for (int j = 0; j < vectors; j++)
    for (int64_t k = 0; k < steps; k += LANES) {
      int count = std::min<int64_t>(LANES, steps - k);
      floats r[LANES];
      for (int i = 0; i < LANES; i++) {
        r[i] = load_first(w + (j * LANES + i) * stride + k, count);
        _mm_prefetch(w + ((j + 1) * LANES + i) * stride + k, _MM_HINT_T0);
      }
      transpose(r);
      for (int i = 0; i < count; i++) store(b + ((k + i) * vectors + j) * LANES, r[i]);
    }
}

// w [rows, 16 V] -> b [units of rows, 16 V]
template <typename T> void pack_rows(const T* w, int64_t stride, int64_t rows, int vectors, unit* b) {
  for (int64_t row = 0; row < rows; row += PER_UNIT<T>)
    for (int j = 0; j < vectors; j++, b += LANES)
      store(b, load_units(w + row * stride + j * LANES, stride, row + 1 < rows));
}

// g [rows, columns] -> a [columns, units of rows]
template <typename T> void pack_columns(const T* g, int64_t stride, int64_t rows, int64_t columns, unit* a) {
  int64_t steps = ceil_div(rows, PER_UNIT<T>);
  for (int64_t column = 0; column < columns; column += LANES)
    for (int64_t k = 0; k < steps; k += LANES) {
      int count = std::min<int64_t>(LANES, steps - k);
      floats r[LANES] = {};
      for (int i = 0; i < count; i++) {
        int64_t row = (k + i) * PER_UNIT<T>;
        r[i] = load_units(g + row * stride + column, stride, row + 1 < rows);
      }
      transpose(r);
      for (int i = 0; i < LANES; i++) store_first(a + (column + i) * steps + k, r[i], count);
    }
}

// Room for `units` units, of this thread, on a cache line; what was in it is lost.
unit* room(int64_t units) {
  struct alignas(64) Line {
    unit values[LANES];
  };
  static thread_local std::vector<Line> lines;
  if ((int64_t)lines.size() * LANES < units) lines.resize(ceil_div(units, LANES));
  return lines.data()->values;
}

// out [S, N] = x [S, K] times the expert's weights (+ bias [N]): w [E, N, K] if transposed, else [E, K, N].
template <typename T>
void products(const T* x, const T* w, const T* bias, T* out, Block block, int64_t K, int64_t N, bool transposed,
              int threads) {
  int64_t panels = ceil_div(N, COLUMNS), steps = K / PER_UNIT<T>;
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
  for (int64_t task = 0; task < block.size * panels; task++) {
    int64_t i = task / panels, n = task % panels * COLUMNS, end = block.ends[i];
    int vectors = vectors_at(n, N);
    const T* weight = w + block.ids[i] * K * N;
    unit* b = room(steps * COLUMNS);
    if (transposed) pack_transposed((const unit*)(weight + n * K), steps, steps, vectors, b);
    else pack_rows(weight + n, N, K, vectors, b);
    float start[COLUMNS];
    const T* added = bias ? bias + block.ids[i] * N + n : nullptr;
    for (int j = 0; added && j < vectors; j++) store(start + j * LANES, load(added + j * LANES));
    for (int64_t row = block.start(i); row < end; row += ROWS)
      any_tile<T, T>(std::min<int64_t>(ROWS, end - row), vectors,
                     {(const unit*)(x + row * K), steps, b, steps, bias ? start : nullptr, 0},
                     {out + row * N + n, N, false});
  }
}

// One task's part of a gradient: out [M, N] = g^T x over the rows, CHUNK units at a time; M <= STRIP, N <= WIDTH.
template <typename T>
void gradient(const T* g, int64_t g_stride, const T* x, int64_t x_stride, int64_t rows, int64_t M, int64_t N,
              Target<T> out) {
  unit *a = room((STRIP + WIDTH) * CHUNK + STRIP * WIDTH), *packed = a + STRIP * CHUNK;
  float* sums = (float*)(packed + WIDTH * CHUNK);
  for (int64_t row = 0; row < rows; row += CHUNK * PER_UNIT<T>) {
    int64_t height = std::min(CHUNK * PER_UNIT<T>, rows - row), steps = ceil_div(height, PER_UNIT<T>);
    bool is_last = row + height == rows;
    pack_columns(g + row * g_stride, g_stride, height, M, a);
    for (int64_t n = 0; n < N; n += COLUMNS)
      pack_rows(x + row * x_stride + n, x_stride, height, vectors_at(n, N), packed + n * steps);
    auto tile_at = [&](int64_t m, int64_t n) {
      int vectors = vectors_at(n, N);
      int64_t count = std::min<int64_t>(ROWS, M - m);
      float* sum = sums + m * WIDTH + n;
      Operands of = {a + m * steps, steps, packed + n * steps, steps, row ? sum : nullptr, WIDTH};
      if (is_last) any_tile<T, T>(count, vectors, of, {out.at + m * out.stride + n, out.stride, out.streams});
      else any_tile<T, float>(count, vectors, of, {sum, WIDTH, false});
    };
    // What the inner loop does not move along stays in the nearest cache: rows, or panels where these are small.
    int64_t heights = ceil_div(M, ROWS), panels = ceil_div(N, COLUMNS);
    for (int64_t i = 0; i < heights * panels; i++)
      if (HAS_MANY) tile_at(i / panels * ROWS, i % panels * COLUMNS);
      else tile_at(i % heights * ROWS, i / heights * COLUMNS);
  }
}

// out[id] [M, N] = g^T x over each expert's rows: g [S, M], x [S, N].
template <typename T>
void grad_products(const T* g, const T* x, T* out, Block block, int64_t M, int64_t N, int threads) {
  int64_t strips = ceil_div(M, STRIP), widths = ceil_div(N, WIDTH);
  bool streams = (uintptr_t)out % 64 == 0 && N * sizeof(T) % 64 == 0;
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
  for (int64_t task = 0; task < block.size * strips * widths; task++) {
    int64_t i = task / (strips * widths), m = task / widths % strips * STRIP, n = task % widths * WIDTH;
    int64_t start = block.start(i);
    gradient(g + start * M + m, M, x + start * N + n, N, block.ends[i] - start, std::min(STRIP, M - m),
             std::min(WIDTH, N - n), Target<T>{out + (block.ids[i] * M + m) * N + n, N, streams});
    if (streams) _mm_sfence();
  }
}

}  // namespace

#define FOR_DTYPE(name, T)                                                                                            \
  void products_##name(const T* x, const T* w, const T* bias, T* out, const int64_t* ids, const int64_t* ends,        \
                       int64_t size, int64_t K, int64_t N, int64_t transposed, int64_t threads) {                     \
    products<T>(x, w, bias, out, {ids, ends, size}, K, N, transposed, threads);                                       \
  }                                                                                                                   \
  void grad_products_##name(const T* g, const T* x, T* out, const int64_t* ids, const int64_t* ends, int64_t size,    \
                            int64_t M, int64_t N, int64_t threads) {                                                  \
    grad_products<T>(g, x, out, {ids, ends, size}, M, N, threads);                                                    \
  }

extern "C" {
FOR_DTYPE(float32, float)
FOR_DTYPE(bfloat16, bf16)
}
