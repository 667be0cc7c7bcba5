#define HPCD_TARGET avx512
#include "worker_impl.hpp"
