// The angle between two ReLU inputs of given correlation, to the precision of the type.
//
//   f0 = (π − arccos c) / 2π       root = √(1 − c²) / 2π
//
// float32: arccos a = √(1−a) · P(a) on [0, 1], P of degree 6: f0 to 1.4e-8 besides rounding.
// float64: arcsin s = s · A(s²) on [0, ½] with s = a or √((1−a)/2), A of degree 11 in s²: f0 to 4e-17 besides rounding.
// P and A are minimax polynomials (Remez exchange in long double), 1/2π folded in.
//
// 1 − |c| below `coincident` counts as zero: that close to 1 the rounding of c decides it, and patches that are equal
// must come out equal, or the square root would turn an ulp into half the digits. |c| > 1 counts as 1.
#pragma once

#include "simd.hpp"

namespace hpcdistill::HPCD_TARGET {

constexpr double kOneOverTwoPi = 0.159154943091895335769;

template <class T>
struct Limits;
template <>
struct Limits<float> {
  static constexpr float coincident = 0x1p-21f;
  // √(1−c²)/2π below which the factor 1/√(1−c²) of the derivatives counts as zero: 1 − c² < 1e-6, which is where
  // `coincident` ends.
  static constexpr float singular = float(kOneOverTwoPi * 1e-3);
};
template <>
struct Limits<double> {
  static constexpr double coincident = 0x1p-50;
  static constexpr double singular = kOneOverTwoPi * 1e-6;  // 1 − c² < 1e-12
};

template <class T>
struct Angle {
  Vec<T> f0, root;
};

template <class T, int N>
HPCD_INLINE Vec<T> polynomial(const T (&coefficients)[N], Vec<T> x) {
  Vec<T> value = broadcast<T>(coefficients[N - 1]);
  for (int i = N - 2; i >= 0; --i) value = multiply_add(value, x, broadcast<T>(coefficients[i]));
  return value;
}

constexpr float kArcCosine[] = {2.499999860036e-01f, -3.415323250671e-02f, 1.413867036577e-02f, -7.830015381378e-03f,
                                4.418605146937e-03f, -1.910399887305e-03f, 4.156683249704e-04f};
constexpr double kArcSine[] = {1.59154943091895299408e-01, 2.65258238486902637513e-02,  1.19366207242258223481e-02,
                               7.10513194818306663489e-03, 4.83541554088391081686e-03,  3.56110695404414048650e-03,
                               2.75525276911223691085e-03, 2.28208187972825557232e-03,  1.48120654712311824633e-03,
                               2.93875003392426513812e-03, -1.91702465862977045321e-03, 5.05488255847722820027e-03};

// (¼ − arccos(a)/2π) for a = |c| in [0, 1], given w = 1 − a and the w up to which a counts as 1.
HPCD_INLINE FloatVector quarter_turn(FloatVector a, FloatVector w, FloatVector least) {
  return subtract_product(broadcast<float>(0.25f), root_where(w, least, w), polynomial<float>(kArcCosine, a));
}
HPCD_INLINE DoubleVector quarter_turn(DoubleVector a, DoubleVector w, DoubleVector least) {
  const auto small = a < broadcast<double>(0.5);
  const DoubleVector z = small ? a * a : w * broadcast<double>(0.5);
  const DoubleVector sine = root_where(w, least, z);
  const DoubleVector turn = sine * polynomial<double>(kArcSine, z);
  return small ? turn : subtract_product(broadcast<double>(0.25), broadcast<double>(2), turn);
}

template <class T>
HPCD_INLINE Angle<T> angle(Vec<T> c) {
  constexpr T square = T(kOneOverTwoPi * kOneOverTwoPi);
  const Vec<T> a = absolute<T>(c), w = broadcast<T>(1) - a;
  const Vec<T> quarter = broadcast<T>(0.25), least = broadcast<T>(Limits<T>::coincident);
  return {quarter + change_sign<T>(quarter_turn(a, w, least), c),
          root_where(w, least, w * multiply_add(a, broadcast<T>(square), broadcast<T>(square)))};
}

}  // namespace hpcdistill::HPCD_TARGET
