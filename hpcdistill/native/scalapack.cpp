#include <nanobind/nanobind.h>
NB_MODULE(_scalapack, m) { m.doc() = "placeholder"; }
