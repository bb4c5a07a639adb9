// Gated experts (SwiGLU) of a few tokens, from the choices to the sum, in one call: as a model that writes one token after
// the other needs them, where each operation of PyTorch takes longer to call than to compute.

#include <algorithm>
#include <vector>

#include "few_rows.h"
#include "swiglu.h"

namespace {

// Choices in the order of their experts, and the rows of each expert; ids from E on belong to none.
struct Choices {
  std::vector<int64_t> order, ids, ends;
  Choices(const int64_t* chosen, int64_t count, int64_t E) {
    for (int64_t choice = 0; choice < count; choice++)
      if (chosen[choice] < E) order.push_back(choice);
    std::stable_sort(order.begin(), order.end(), [=](int64_t a, int64_t b) { return chosen[a] < chosen[b]; });
    for (size_t row = 0; row < order.size(); row++) {
      if (ids.empty() || ids.back() != chosen[order[row]]) ids.push_back(chosen[order[row]]), ends.push_back(0);
      ends.back() = row + 1;
    }
  }
};

// Room for `size` values, of this thread and this use; what was in it is lost.
template <int use, typename T> T* room(int64_t size) {
  static thread_local std::vector<T> values;
  if ((int64_t)values.size() < size) values.resize(size);
  return values.data();
}

// out [D] = the sum of the k rows [D], in order, in fp32; of those that are there.
template <typename T> void add_rows(const T* const* rows, int64_t k, int64_t D, T* out) {
  for (int64_t d = 0; d < D; d += LANES) {
    floats sum = zero();
    for (int64_t i = 0; i < k; i++)
      if (rows[i]) sum = sum + load(rows[i] + d);
    store(out + d, sum);
  }
}

// out [tokens, D] = the sum over a token's k experts of down(factor * swiglu(up(x))): x [tokens, D], chosen and factors
// [tokens, k], up [E, 2I, D], down [E, D, I].
template <typename T>
void few_tokens(const T* x, const int64_t* chosen, const float* factors, const T* up, const T* down, T* out,
                int64_t tokens, int64_t k, int64_t E, int64_t D, int64_t I, int threads) {
  Choices choices(chosen, tokens * k, E);
  int64_t size = choices.order.size();
  Block block = {choices.ids.data(), choices.ends.data(), (int64_t)choices.ids.size()};
  T *rows = room<0, T>(size * D), *h = room<1, T>(size * 2 * I), *hidden = room<2, T>(size * I);
  float* weights = room<3, float>(size);
  std::vector<const T*> made(tokens * k);
  for (int64_t row = 0; row < size; row++) {
    int64_t choice = choices.order[row];
    std::copy_n(x + choice / k * D, D, rows + row * D);
    weights[row] = factors[choice], made[choice] = rows + row * D;
  }
  few_rows<T>(rows, up, nullptr, h, block, D, 2 * I, threads);
  swiglu<T>(h, weights, hidden, size, I, threads);
  few_rows<T>(hidden, down, nullptr, rows, block, I, D, threads);
  for (int64_t token = 0; token < tokens; token++) add_rows<T>(made.data() + token * k, k, D, out + token * D);
}

}  // namespace

#define FOR_DTYPE(name, T)                                                                                            \
  void few_tokens_##name(const T* x, const int64_t* chosen, const float* factors, const T* up, const T* down, T* out, \
                         int64_t tokens, int64_t k, int64_t E, int64_t D, int64_t I, int64_t threads) {               \
    few_tokens<T>(x, chosen, factors, up, down, out, tokens, k, E, D, I, threads);                                    \
  }

extern "C" {
FOR_DTYPE(float32, float)
FOR_DTYPE(bfloat16, bf16)
}
