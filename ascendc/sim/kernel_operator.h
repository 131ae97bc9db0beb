// SPDX-License-Identifier: MIT OR Apache-2.0
// AscendC for the simulator. Kernels include this file and nothing else of this folder; on the chip the same
// include finds CANN's. Each call lowers to the intrinsics that CANN's dav-c220 implementation lowers it to.
//
// One difference is wanted: CANN compiles a call away on the core type that lacks its pipe (a vector call on
// an AIC); here it is issued and the machine faults, because such a call is nearly always a missing
// ASCEND_IS_AIV.
#pragma once
#include "cast.h"
#include "copy.h"
#include "cube.h"
#include "params.h"
#include "pipe.h"
#include "queue.h"
#include "sync.h"
#include "tensor.h"
#include "types.h"
#include "vec_arith.h"
#include "vec_compare.h"
#include "vec_move.h"
#include "vec_reduce.h"
#include "vec_reduce_all.h"
