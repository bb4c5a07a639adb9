// A vector is two registers of AVX2, which has no numbers of 16 bits: they are widened and rounded by their bits.

#pragma once

#include <immintrin.h>

namespace {

struct floats {
  __m256 low, high;
};
constexpr int REGISTERS = 8;  // of vectors

inline floats operator+(floats a, floats b) { return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)}; }
inline floats operator-(floats a, floats b) { return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)}; }
inline floats operator*(floats a, floats b) { return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)}; }
inline floats operator/(floats a, floats b) { return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)}; }
inline floats operator&(floats a, floats b) { return {_mm256_and_ps(a.low, b.low), _mm256_and_ps(a.high, b.high)}; }

inline floats zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
inline floats set(float value) { return {_mm256_set1_ps(value), _mm256_set1_ps(value)}; }
inline floats fma(floats a, floats b, floats sum) {
  return {_mm256_fmadd_ps(a.low, b.low, sum.low), _mm256_fmadd_ps(a.high, b.high, sum.high)};
}
inline floats fnma(floats a, floats b, floats sum) {
  return {_mm256_fnmadd_ps(a.low, b.low, sum.low), _mm256_fnmadd_ps(a.high, b.high, sum.high)};
}
inline floats min(floats a, floats b) { return {_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)}; }
inline floats max(floats a, floats b) { return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)}; }
inline floats nearest(floats x) {
  constexpr int how = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  return {_mm256_round_ps(x.low, how), _mm256_round_ps(x.high, how)};
}

// 2^exponent, a whole number of normal range.
inline __m256 power(__m256 exponent) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(exponent), _mm256_set1_epi32(127)), 23));
}
inline floats times_power(floats x, floats exponent) { return x * floats{power(exponent.low), power(exponent.high)}; }

inline float total(floats x) {
  __m256 both = _mm256_add_ps(x.low, x.high);
  __m128 four = _mm_add_ps(_mm256_castps256_ps128(both), _mm256_extractf128_ps(both, 1));
  four = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}

inline floats load(const float* from) { return {_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8)}; }
inline void store(float* to, floats values) { _mm256_storeu_ps(to, values.low), _mm256_storeu_ps(to + 8, values.high); }
inline void stream(float* to, floats values) {
  _mm256_stream_ps(to, values.low), _mm256_stream_ps(to + 8, values.high);
}

inline __m256i wide(const bf16* from) { return _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)from)); }
inline __m256 up(__m256i bits) { return _mm256_castsi256_ps(_mm256_slli_epi32(bits, 16)); }
inline floats load(const bf16* from) { return {up(wide(from)), up(wide(from + 8))}; }

// The upper halves of fp32 bits, rounded to the nearest even one; what is no number stays none.
inline __m256i rounded_bits(__m256 values) {
  __m256i bits = _mm256_castps_si256(values), odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  __m256i near = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
  __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
  __m256 is_none = _mm256_cmp_ps(values, values, _CMP_UNORD_Q);
  return _mm256_srli_epi32(_mm256_blendv_epi8(near, quiet, _mm256_castps_si256(is_none)), 16);
}
inline floats rounded_to(bf16, floats values) {
  return {up(rounded_bits(values.low)), up(rounded_bits(values.high))};
}
inline __m256i packed(floats values) {
  __m256i both = _mm256_packus_epi32(rounded_bits(values.low), rounded_bits(values.high));
  return _mm256_permute4x64_epi64(both, 0xd8);
}
inline void store(bf16* to, floats values) { _mm256_storeu_si256((__m256i*)to, packed(values)); }
inline void stream(bf16* to, floats first, floats second) {
  _mm256_stream_si256((__m256i*)to, packed(first)), _mm256_stream_si256((__m256i*)(to + 16), packed(second));
}

inline floats mask(int count) {
  __m256i places = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return {_mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32(count), places)),
          _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32(count - 8), places))};
}
inline floats load_first(const float* from, int count) {
  floats inside = mask(count);
  return {_mm256_maskload_ps(from, _mm256_castps_si256(inside.low)),
          _mm256_maskload_ps(from + 8, _mm256_castps_si256(inside.high))};
}
inline void store_first(float* to, floats values, int count) {
  floats inside = mask(count);
  _mm256_maskstore_ps(to, _mm256_castps_si256(inside.low), values.low);
  _mm256_maskstore_ps(to + 8, _mm256_castps_si256(inside.high), values.high);
}
inline floats first(floats values, int count) { return mask(count) & values; }
// values where x is not less than the bound, or is no number; else 0.
inline floats unless_less(floats x, floats bound, floats values) {
  return floats{_mm256_cmp_ps(x.low, bound.low, _CMP_NLT_UQ), _mm256_cmp_ps(x.high, bound.high, _CMP_NLT_UQ)} & values;
}

// Of units of two bf16 each: the first of them, and the second.
inline __m256 evens(__m256 units) { return up(_mm256_castps_si256(units)); }
inline __m256 odds(__m256 units) {
  return _mm256_and_ps(units, _mm256_castsi256_ps(_mm256_set1_epi32((int)0xffff0000)));
}
inline __m256 multiply_add(__m256 sum, __m256 a, __m256 b) {
  return _mm256_fmadd_ps(odds(a), odds(b), _mm256_fmadd_ps(evens(a), evens(b), sum));
}
inline floats multiply_add(bf16, floats sum, floats a, floats b) {
  return {multiply_add(sum.low, a.low, b.low), multiply_add(sum.high, a.high, b.high)};
}

// A unit of each of LANES columns of two rows; of one and zero where there is no next.
inline floats pairs(const bf16* row, const bf16* next) {
  __m256i low = wide(row), high = wide(row + 8);
  if (next) {
    low = _mm256_or_si256(low, _mm256_slli_epi32(wide(next), 16));
    high = _mm256_or_si256(high, _mm256_slli_epi32(wide(next + 8), 16));
  }
  return {_mm256_castsi256_ps(low), _mm256_castsi256_ps(high)};
}

// A sum in fp64.
struct Doubles {
  __m256d sums[4] = {};
  void add_square(int i, __m128 values) {
    __m256d wide = _mm256_cvtps_pd(values);
    sums[i] = _mm256_fmadd_pd(wide, wide, sums[i]);
  }
  void add_squares(floats values) {
    add_square(0, _mm256_castps256_ps128(values.low)), add_square(1, _mm256_extractf128_ps(values.low, 1));
    add_square(2, _mm256_castps256_ps128(values.high)), add_square(3, _mm256_extractf128_ps(values.high, 1));
  }
  double total() const {
    __m256d four = _mm256_add_pd(_mm256_add_pd(sums[0], sums[1]), _mm256_add_pd(sums[2], sums[3]));
    __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
  }
};

inline void transpose(__m256 (&r)[8]) {
  __m256 t[8];
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
  }
  for (int i = 0; i < 8; i += 4)
    for (int half = 0; half < 2; half++) {
      r[i + 2 * half] = _mm256_shuffle_ps(t[i + half], t[i + half + 2], 0x44);
      r[i + 2 * half + 1] = _mm256_shuffle_ps(t[i + half], t[i + half + 2], 0xee);
    }
  for (int i = 0; i < 4; i++) {
    t[i] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x20);
    t[i + 4] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x31);
  }
  for (int i = 0; i < 8; i++) r[i] = t[i];
}

// By quarters of 8 x 8: the one and the other on the diagonal, and those beside it, which change places.
inline void transpose(floats (&r)[LANES]) {
  __m256 quarters[4][8];
  for (int i = 0; i < 8; i++) {
    quarters[0][i] = r[i].low, quarters[1][i] = r[i].high;
    quarters[2][i] = r[i + 8].low, quarters[3][i] = r[i + 8].high;
  }
  for (auto& quarter : quarters) transpose(quarter);
  for (int i = 0; i < 8; i++) r[i] = {quarters[0][i], quarters[2][i]}, r[i + 8] = {quarters[1][i], quarters[3][i]};
}

}  // namespace
