// Vectors of LANES values, computed in fp32 whatever their dtype.
//
// What a product sums over is counted in units of 32 bits: one float, or two bfloat16 that follow each other along the
// summed dimension, which one VDPBF16PS multiplies and adds.

#pragma once

#include <immintrin.h>

#include <cstdint>
#include <initializer_list>
#include <type_traits>

namespace {

constexpr int LANES = 16;  // floats in a register

using bf16 = uint16_t;

// LANES values as fp32.
template <typename T> __m512 load(const T* from) {
  if constexpr (std::is_same_v<T, float>) return _mm512_loadu_ps(from);
  else {
    __m512i bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)from));
    return _mm512_castsi512_ps(_mm512_slli_epi32(bits, 16));
  }
}

template <typename T> void store(T* to, __m512 values) {
  if constexpr (std::is_same_v<T, float>) _mm512_storeu_ps(to, values);
  else _mm256_storeu_si256((__m256i*)to, (__m256i)_mm512_cvtneps_pbh(values));
}

typedef float unit __attribute__((may_alias));

template <typename T> constexpr int PER_UNIT = sizeof(unit) / sizeof(T);

template <typename T> __m512 multiply_add(__m512 sum, __m512 a, __m512 b) {
  if constexpr (std::is_same_v<T, float>) return _mm512_fmadd_ps(a, b, sum);
  else return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
}

void transpose(__m512 (&r)[LANES]) {
  __m512 t[LANES];
  for (int i = 0; i < LANES; i += 2) {
    t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
  }
  for (int i = 0; i < LANES; i += 4)
    for (int half = 0; half < 2; half++) {
      __m512d low = _mm512_castps_pd(t[i + half]), high = _mm512_castps_pd(t[i + half + 2]);
      r[i + 2 * half] = _mm512_castpd_ps(_mm512_unpacklo_pd(low, high));
      r[i + 2 * half + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low, high));
    }
  for (int i = 0; i < LANES; i += 8)
    for (int j = i; j < i + 4; j++) {
      t[j] = _mm512_shuffle_f32x4(r[j], r[j + 4], 0x88);
      t[j + 4] = _mm512_shuffle_f32x4(r[j], r[j + 4], 0xdd);
    }
  for (int i = 0; i < 8; i++) {
    r[i] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0x88);
    r[i + 8] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0xdd);
  }
}

// e^x to 2 units in the last place: 2^n e^r with |r| <= ln(2) / 2, e^r by its Taylor series. Bounds keep n in range.
__m512 exponential(__m512 x) {
  x = _mm512_min_ps(_mm512_set1_ps(88.0f), _mm512_max_ps(_mm512_set1_ps(-87.0f), x));  // in this order NaN stays NaN
  __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), 0);
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);  // ln(2) in two parts, the first exact times n
  r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
  __m512 sum = _mm512_set1_ps(1.0f / 5040);
  for (float factorial : {720.0f, 120.0f, 24.0f, 6.0f, 2.0f, 1.0f, 1.0f})
    sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(1.0f / factorial));
  return _mm512_scalef_ps(sum, n);
}

}  // namespace
