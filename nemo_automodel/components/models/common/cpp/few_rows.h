// Products of a few rows, as a model makes them that writes one token after the other: what takes the time is to read the
// weights, so they are read once, in the order in which they lie, and nothing is repacked.
//
// Sums are fp32 and run in order, in LANES parts that are added up in the end: a row's result does not depend on the
// rows beside it. The numbers of columns and of what is summed over are multiples of LANES.

#pragma once

#include <algorithm>

#include "blocks.h"
#include "lanes.h"
#include "vectors.h"

namespace {

constexpr int COLUMNS = 64;  // of one task

// out [rows, columns] = x [rows, steps] times w [columns, steps] (+ bias): up to FEW rows.
template <typename T, int M = FEW>
void rows_times(int64_t rows, const unit* x, const unit* w, int64_t steps, const T* bias, T* out, int64_t N,
                int64_t columns) {
  if constexpr (M > 1)
    if (rows < M) return rows_times<T, M - 1>(rows, x, w, steps, bias, out, N, columns);
  for (int64_t n = 0; n < columns; n += LANES) {
    floats lanes[M][LANES];
    in_lanes<T, M>(x, w + n * steps, steps, lanes);
    floats start = bias ? load(bias + n) : zero();
    for (int i = 0; i < M; i++) {
      store(out + i * N + n, added(lanes[i], start));
    }
  }
}

// out [S, N] = x [S, K] times the expert's weights (+ bias [N]): w [E, N, K].
template <typename T>
void few_rows(const T* x, const T* w, const T* bias, T* out, Block block, int64_t K, int64_t N, int threads) {
  int64_t panels = ceil_div(N, COLUMNS), steps = K / PER_UNIT<T>;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t task = 0; task < block.size * panels; task++) {
    int64_t i = task / panels, n = task % panels * COLUMNS, first = block.ids[i] * N + n, end = block.ends[i];
    for (int64_t row = block.start(i); row < end; row += FEW)
      rows_times<T>(std::min<int64_t>(FEW, end - row), (const unit*)(x + row * K), (const unit*)(w + first * K), steps,
                    bias ? bias + first : nullptr, out + row * N + n, N, std::min<int64_t>(COLUMNS, N - n));
  }
}

}  // namespace
