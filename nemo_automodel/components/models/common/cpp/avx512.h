// A vector is one register of AVX-512.

#pragma once

#include <immintrin.h>

namespace {

using floats = __m512;
constexpr int REGISTERS = 32;  // of vectors

floats zero() { return _mm512_setzero_ps(); }
floats set(float value) { return _mm512_set1_ps(value); }
floats fma(floats a, floats b, floats sum) { return _mm512_fmadd_ps(a, b, sum); }
floats fnma(floats a, floats b, floats sum) { return _mm512_fnmadd_ps(a, b, sum); }
floats min(floats a, floats b) { return _mm512_min_ps(a, b); }
floats max(floats a, floats b) { return _mm512_max_ps(a, b); }
floats nearest(floats x) { return _mm512_roundscale_ps(x, 0); }
floats times_power(floats x, floats exponent) { return _mm512_scalef_ps(x, exponent); }
float total(floats x) { return _mm512_reduce_add_ps(x); }

floats load(const float* from) { return _mm512_loadu_ps(from); }
void store(float* to, floats values) { _mm512_storeu_ps(to, values); }
void stream(float* to, floats values) { _mm512_stream_ps(to, values); }

floats load(const bf16* from) {
  __m512i bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)from));
  return _mm512_castsi512_ps(_mm512_slli_epi32(bits, 16));
}
floats rounded_to(bf16, floats values) {
  __m512i bits = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(values));
  return _mm512_castsi512_ps(_mm512_slli_epi32(bits, 16));
}
void store(bf16* to, floats values) { _mm256_storeu_si256((__m256i*)to, (__m256i)_mm512_cvtneps_pbh(values)); }
void stream(bf16* to, floats first, floats second) {
  _mm512_stream_si512((__m512i*)to, (__m512i)_mm512_cvtne2ps_pbh(second, first));
}

__mmask16 mask(int count) { return (1u << count) - 1; }
floats load_first(const float* from, int count) { return _mm512_maskz_loadu_ps(mask(count), from); }
void store_first(float* to, floats values, int count) { _mm512_mask_storeu_ps(to, mask(count), values); }
floats first(floats values, int count) { return _mm512_maskz_mov_ps(mask(count), values); }
// values where x is not less than the bound, or is no number; else 0.
floats unless_less(floats x, floats bound, floats values) {
  return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, bound, _CMP_NLT_UQ), values);
}

floats multiply_add(bf16, floats sum, floats a, floats b) { return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b); }

// A unit of each of LANES columns of two rows; of one and zero where there is no next.
floats pairs(const bf16* row, const bf16* next) {
  __m512i low = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)row));
  return _mm512_castsi512_ps(next ? _mm512_or_si512(low, _mm512_castps_si512(load(next))) : low);
}

// A sum in fp64.
struct Doubles {
  __m512d low = _mm512_setzero_pd(), high = _mm512_setzero_pd();
  void add_squares(floats values) {
    __m512d first = _mm512_cvtps_pd(_mm512_castps512_ps256(values));
    __m512d second = _mm512_cvtps_pd(_mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(values), 1)));
    low = _mm512_fmadd_pd(first, first, low), high = _mm512_fmadd_pd(second, second, high);
  }
  double total() const { return _mm512_reduce_add_pd(_mm512_add_pd(low, high)); }
};

void transpose(floats (&r)[LANES]) {
  floats t[LANES];
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

}  // namespace
