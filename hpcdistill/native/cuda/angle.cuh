// The angle between two ReLU inputs of given correlation: engine/arc_cosine.hpp, whose polynomials, thresholds and
// error bounds these are, in CUDA.
#pragma once

namespace hpcdistill {

constexpr double kOneOverTwoPi = 0.159154943091895335769;

template <class T>
struct Limits;
template <>
struct Limits<float> {
  static constexpr float coincident = 4.76837158203125e-07f;  // 2⁻²¹
  static constexpr float singular = float(kOneOverTwoPi * 1e-3);
};
template <>
struct Limits<double> {
  static constexpr double coincident = 8.8817841970012523e-16;  // 2⁻⁵⁰
  static constexpr double singular = kOneOverTwoPi * 1e-6;
};

// One unit in the last place, from the estimate of the special-function unit and one step of Newton; no slow path. x >
// 0 and normal, or the result is not used: it is computed first and selected then, because branches cost more.
__device__ __forceinline__ float square_root(float x) {
  const float inverse = rsqrtf(x), root = x * inverse;
  return fmaf(0.5f * inverse, fmaf(-root, root, x), root);
}
__device__ __forceinline__ double square_root(double x) { return sqrt(x); }

// Correctly rounded, for norms: equal patches must have equal ones.
__device__ __forceinline__ float norm_of(float variance) { return sqrtf(variance); }
__device__ __forceinline__ double norm_of(double variance) { return sqrt(variance); }

__device__ __forceinline__ float reciprocal(float x) {
  const float estimate = __fdividef(1.0f, x);
  return fmaf(estimate, fmaf(-x, estimate, 1.0f), estimate);
}
__device__ __forceinline__ double reciprocal(double x) { return 1.0 / x; }

__device__ __forceinline__ float fused(float a, float b, float c) { return fmaf(a, b, c); }
__device__ __forceinline__ double fused(double a, double b, double c) { return fma(a, b, c); }
__device__ __forceinline__ float magnitude(float x) { return fabsf(x); }
__device__ __forceinline__ double magnitude(double x) { return fabs(x); }
__device__ __forceinline__ float with_sign(float x, float sign) { return copysignf(x, sign); }
__device__ __forceinline__ double with_sign(double x, double sign) { return copysign(x, sign); }

// (¼ − arccos(a)/2π) for a = |c| in [0, 1], given w = 1 − a.
__device__ __forceinline__ float quarter_turn(float a, float w) {
  float p = 4.156683249704e-04f;
  p = fmaf(p, a, -1.910399887305e-03f);
  p = fmaf(p, a, 4.418605146937e-03f);
  p = fmaf(p, a, -7.830015381378e-03f);
  p = fmaf(p, a, 1.413867036577e-02f);
  p = fmaf(p, a, -3.415323250671e-02f);
  p = fmaf(p, a, 2.499999860036e-01f);
  const float root = square_root(w);
  return fmaf(w > Limits<float>::coincident ? -root : 0.0f, p, 0.25f);
}
__device__ __forceinline__ double quarter_turn(double a, double w) {
  const bool small = a < 0.5;
  const double z = small ? a * a : 0.5 * w;
  double p = 5.05488255847722820027e-03;
  p = fma(p, z, -1.91702465862977045321e-03);
  p = fma(p, z, 2.93875003392426513812e-03);
  p = fma(p, z, 1.48120654712311824633e-03);
  p = fma(p, z, 2.28208187972825557232e-03);
  p = fma(p, z, 2.75525276911223691085e-03);
  p = fma(p, z, 3.56110695404414048650e-03);
  p = fma(p, z, 4.83541554088391081686e-03);
  p = fma(p, z, 7.10513194818306663489e-03);
  p = fma(p, z, 1.19366207242258223481e-02);
  p = fma(p, z, 2.65258238486902637513e-02);
  p = fma(p, z, 1.59154943091895299408e-01);
  const double root = sqrt(z), sine = small ? a : w > Limits<double>::coincident ? root : 0.0;
  const double turn = sine * p;
  return small ? turn : fma(-2.0, turn, 0.25);
}

// f0 = (π − arccos c) / 2π and root = √(1 − c²) / 2π.
template <class T>
struct Angle {
  T f0, root;
};

template <class T>
__device__ __forceinline__ Angle<T> angle(T c) {
  constexpr T square = T(kOneOverTwoPi * kOneOverTwoPi);
  const T a = magnitude(c), w = T(1) - a;
  const T root = square_root(w * fused(a, square, square));
  return {T(0.25) + with_sign(quarter_turn(a, w), c), w > Limits<T>::coincident ? root : T(0)};
}

}  // namespace hpcdistill
