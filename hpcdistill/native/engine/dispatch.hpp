// From a unit of the plan to the instance of a row function that does it.
#pragma once

#include "plan.hpp"
#include "rows.hpp"

namespace hpcdistill::HPCD_TARGET {

inline Tangent tangent_of(const Unit& unit) {
  return !unit.tangent_out ? Tangent::none : unit.tangent_in ? Tangent::carried : Tangent::born;
}

// Call f.template run<Box, Relu, M>() for the unit's Box, Relu, M. T is not born without a box filter.
template <bool Box, bool Relu, class F>
HPCD_INLINE void with_tangent(Tangent m, const F& f) {
  if (m == Tangent::none) return f.template run<Box, Relu, Tangent::none>();
  if constexpr (Box)
    if (m == Tangent::born) return f.template run<Box, Relu, Tangent::born>();
  f.template run<Box, Relu, Tangent::carried>();
}
template <class F>
HPCD_INLINE void with_unit(const Unit& unit, const F& f) {
  const Tangent m = tangent_of(unit);
  if (unit.box)
    unit.relu ? with_tangent<true, true>(m, f) : with_tangent<true, false>(m, f);
  else
    unit.relu ? with_tangent<false, true>(m, f) : with_tangent<false, false>(m, f);
}

template <class T, class First, Pass P>
struct RunUnit {
  const UnitRow<T, First>& row;
  template <bool Box, bool Relu, Tangent M>
  void run() const {
    unit_row<T, First, Box, Relu, M, P>(row);
  }
};

template <class T, class First, Pass P>
struct RunPooled {
  const UnitRow<T, First>& row;
  const PooledRows<T>& out;
  bool even;
  template <bool Box, bool Relu, Tangent M>
  void run() const {
    even ? pooled_row<T, First, Box, Relu, M, P, true>(row, out)
         : pooled_row<T, First, Box, Relu, M, P, false>(row, out);
  }
};

template <class T, class First>
struct RunTurning {
  const UnitRow<T, First>& row;
  const AdjointRow<T>& back;
  template <bool Box, bool Relu, Tangent M>
  void run() const {
    turning_row<T, First, Box, Relu, M>(row, back);
  }
};

template <class T, class First>
struct RunPooledTurning {
  const UnitRow<T, First>& row;
  const AdjointRow<T>& back;
  const PooledRows<T>& in;
  bool even;
  template <bool Box, bool Relu, Tangent M>
  void run() const {
    even ? pooled_turning_row<T, First, Box, Relu, M, true>(row, back, in)
         : pooled_turning_row<T, First, Box, Relu, M, false>(row, back, in);
  }
};

template <class T, bool BoxAfter>
struct RunAdjoint {
  const AdjointRow<T>& row;
  template <bool Box, bool Relu, Tangent M>
  void run() const {
    unit_adjoint_row<T, BoxAfter, Box, Relu, M>(row);
  }
};

}  // namespace hpcdistill::HPCD_TARGET
