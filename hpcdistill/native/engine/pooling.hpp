// Between levels: rows of a plane summed into the pooled planes, and gradients handed back.
#pragma once

#include "plan.hpp"
#include "rows.hpp"

namespace hpcdistill::HPCD_TARGET {

// Pixel p = (y0 + y, x0 + x) of the first image meets p + (dy, dx) of the second.
struct Plane {
  int dy, dx, rows, columns, y0, x0;

  Plane(const Level& level, int dy_, int dx_)
      : dy(dy_),
        dx(dx_),
        rows(level.height - (dy_ < 0 ? -dy_ : dy_)),
        columns(level.width - (dx_ < 0 ? -dx_ : dx_)),
        y0(dy_ < 0 ? -dy_ : 0),
        x0(dx_ < 0 ? -dx_ : 0) {}
};

// Where row y of the plane lies in the store of planes that enter `level`.
inline std::size_t store_row(const Level& level, const std::size_t* starts, const Plane& plane, int y) {
  return starts[(plane.dy + level.radius_y) * level.planes_x() + plane.dx + level.radius_x] +
         std::size_t(y) * (plane.columns + 1);
}

// Where a row of a plane goes in the next level: one row of at most two planes. Offset d = 2D + e of pixels p, p + d is
// pooled offset D, or D + 1 where e = 1 and p is odd; so columns of an odd offset take turns.
struct PoolTargets {
  struct Target {
    std::size_t start;  // in the next level's store
    int count;          // pooled columns
    int first;          // column that goes to the first of them; the next goes two further on
  };
  Target targets[2];
  int n = 0;
  bool both;  // the column after each goes there too: an even offset

  PoolTargets(const Level& next, const std::size_t* starts, const Plane& plane, int y) : both((plane.dx & 1) == 0) {
    const int py = plane.y0 + y, row_p = py >> 1, row_q = (py + plane.dy) >> 1, dy = row_q - row_p;
    if (row_p >= next.height || row_q >= next.height || dy > next.radius_y || -dy > next.radius_y) return;
    for (int parity = 0; parity <= (both ? 0 : 1); ++parity) {
      const int dx = (plane.dx + parity) >> 1;
      if (dx > next.radius_x || -dx > next.radius_x) continue;
      const Plane pooled(next, dy, dx);
      targets[n++] = {store_row(next, starts, pooled, row_p - pooled.y0), pooled.columns,
                      2 * pooled.x0 + parity - plane.x0};
    }
  }

  // The same as a unit's row reads or writes them.
  template <class T>
  PooledRows<T> rows(Vec<T>* s_store, Vec<T>* t_store) const {
    PooledRows<T> rows{};
    for (int i = 0; i < n; ++i) {
      const Target& target = targets[i];
      rows.s[target.first] = s_store + target.start;
      rows.t[target.first] = t_store ? t_store + target.start : nullptr;
      rows.count[target.first] = target.count;
    }
    return rows;
  }
};

}  // namespace hpcdistill::HPCD_TARGET
