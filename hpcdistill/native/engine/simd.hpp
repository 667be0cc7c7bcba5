// Vectors of the widest kind that this translation unit is compiled for, and the few operations on them that the
// compiler's vector extensions lack. Everything lives in a namespace of the instruction set's own name, so that code
// compiled for one instruction set is never linked into another's.
//
// HPCD_TARGET must be defined before inclusion: the namespace's name, one of baseline, avx2, avx512.
#pragma once

#include <cstddef>
#include <cstdint>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace hpcdistill::HPCD_TARGET {

#if defined(__AVX512F__)
constexpr std::size_t kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr std::size_t kVectorBytes = 32;
#else
constexpr std::size_t kVectorBytes = 16;
#endif

typedef float FloatVector __attribute__((vector_size(kVectorBytes)));
typedef double DoubleVector __attribute__((vector_size(kVectorBytes)));
typedef std::int32_t FloatBits __attribute__((vector_size(kVectorBytes)));
typedef std::int64_t DoubleBits __attribute__((vector_size(kVectorBytes)));

template <class T>
struct VectorOf;
template <>
struct VectorOf<float> {
  using Vector = FloatVector;
  using Bits = FloatBits;
};
template <>
struct VectorOf<double> {
  using Vector = DoubleVector;
  using Bits = DoubleBits;
};
template <class T>
using Vec = typename VectorOf<T>::Vector;
template <class T>
constexpr int kLanes = kVectorBytes / sizeof(T);

#define HPCD_INLINE inline __attribute__((always_inline))

template <class T>
HPCD_INLINE Vec<T> broadcast(T x) {
  return x - Vec<T>{};
}

// a·b + c and c − a·b. Fused where the instruction set can; never left to the compiler's choice, because two
// instances of one template must round alike.
#if defined(__AVX512F__)
HPCD_INLINE FloatVector multiply_add(FloatVector a, FloatVector b, FloatVector c) { return _mm512_fmadd_ps(a, b, c); }
HPCD_INLINE DoubleVector multiply_add(DoubleVector a, DoubleVector b, DoubleVector c) {
  return _mm512_fmadd_pd(a, b, c);
}
HPCD_INLINE FloatVector subtract_product(FloatVector c, FloatVector a, FloatVector b) {
  return _mm512_fnmadd_ps(a, b, c);
}
HPCD_INLINE DoubleVector subtract_product(DoubleVector c, DoubleVector a, DoubleVector b) {
  return _mm512_fnmadd_pd(a, b, c);
}
HPCD_INLINE FloatVector square_root(FloatVector x) { return _mm512_sqrt_ps(x); }
HPCD_INLINE DoubleVector square_root(DoubleVector x) { return _mm512_sqrt_pd(x); }
#elif defined(__AVX2__)
HPCD_INLINE FloatVector multiply_add(FloatVector a, FloatVector b, FloatVector c) { return _mm256_fmadd_ps(a, b, c); }
HPCD_INLINE DoubleVector multiply_add(DoubleVector a, DoubleVector b, DoubleVector c) {
  return _mm256_fmadd_pd(a, b, c);
}
HPCD_INLINE FloatVector subtract_product(FloatVector c, FloatVector a, FloatVector b) {
  return _mm256_fnmadd_ps(a, b, c);
}
HPCD_INLINE DoubleVector subtract_product(DoubleVector c, DoubleVector a, DoubleVector b) {
  return _mm256_fnmadd_pd(a, b, c);
}
HPCD_INLINE FloatVector square_root(FloatVector x) { return _mm256_sqrt_ps(x); }
HPCD_INLINE DoubleVector square_root(DoubleVector x) { return _mm256_sqrt_pd(x); }
#elif defined(__aarch64__)
HPCD_INLINE FloatVector multiply_add(FloatVector a, FloatVector b, FloatVector c) {
  return (FloatVector)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
}
HPCD_INLINE DoubleVector multiply_add(DoubleVector a, DoubleVector b, DoubleVector c) {
  return (DoubleVector)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
}
HPCD_INLINE FloatVector subtract_product(FloatVector c, FloatVector a, FloatVector b) {
  return (FloatVector)vfmsq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
}
HPCD_INLINE DoubleVector subtract_product(DoubleVector c, DoubleVector a, DoubleVector b) {
  return (DoubleVector)vfmsq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
}
HPCD_INLINE FloatVector square_root(FloatVector x) { return (FloatVector)vsqrtq_f32((float32x4_t)x); }
HPCD_INLINE DoubleVector square_root(DoubleVector x) { return (DoubleVector)vsqrtq_f64((float64x2_t)x); }
#else
template <class V>
HPCD_INLINE V multiply_add(V a, V b, V c) {
  return a * b + c;
}
template <class V>
HPCD_INLINE V subtract_product(V c, V a, V b) {
  return c - a * b;
}
#if defined(__x86_64__)
HPCD_INLINE FloatVector square_root(FloatVector x) { return _mm_sqrt_ps(x); }
HPCD_INLINE DoubleVector square_root(DoubleVector x) { return _mm_sqrt_pd(x); }
#else
template <class V>
HPCD_INLINE V square_root(V x) {
  for (std::size_t i = 0; i < sizeof(V) / sizeof(x[0]); ++i)
    x[i] = sizeof(x[0]) == 4 ? __builtin_sqrtf(x[i]) : __builtin_sqrt(x[i]);
  return x;
}
#endif
#endif

// √x where a > above, else 0, whatever x is there.
#if defined(__AVX512F__)
HPCD_INLINE FloatVector root_where(FloatVector a, FloatVector above, FloatVector x) {
  return _mm512_maskz_sqrt_ps(_mm512_cmp_ps_mask(a, above, _CMP_GT_OQ), x);
}
HPCD_INLINE DoubleVector root_where(DoubleVector a, DoubleVector above, DoubleVector x) {
  return _mm512_maskz_sqrt_pd(_mm512_cmp_pd_mask(a, above, _CMP_GT_OQ), x);
}
#else
template <class V>
HPCD_INLINE V root_where(V a, V above, V x) {
  return a > above ? square_root(x) : V{};
}
#endif

template <class T>
HPCD_INLINE typename VectorOf<T>::Bits sign_bit() {
  return (typename VectorOf<T>::Bits)broadcast<T>(T(-0.0));
}

template <class T>
HPCD_INLINE Vec<T> absolute(Vec<T> x) {
  using Bits = typename VectorOf<T>::Bits;
  return (Vec<T>)((Bits)x & ~sign_bit<T>());
}

// magnitude with its sign changed where `sign` is negative.
template <class T>
HPCD_INLINE Vec<T> change_sign(Vec<T> magnitude, Vec<T> sign) {
  using Bits = typename VectorOf<T>::Bits;
  return (Vec<T>)((Bits)magnitude ^ ((Bits)sign & sign_bit<T>()));
}

}  // namespace hpcdistill::HPCD_TARGET
