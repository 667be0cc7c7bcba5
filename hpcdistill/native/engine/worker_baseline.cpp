#define HPCD_TARGET baseline
#include "worker_impl.hpp"
