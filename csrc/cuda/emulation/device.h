#pragma once

#include "access.h"
#include "global_memory.h"
#include "launch.h"
#include "tensor_cores.h"
#include "types.h"
#include "warp.h"
