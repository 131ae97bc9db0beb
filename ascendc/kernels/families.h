// SPDX-License-Identifier: MIT OR Apache-2.0
// Every family of kernels in variants.def, as nothing: a file that instantiates templates redefines its own family.
#pragma once
#define FA_ADD(...)
#define FA_COPY(...)
#define FA_FLASH_FWD(...)
#define FA_FLASH_FWD_MATMUL(...)
#define FA_MATMUL(...)
#define FA_READ_L1(...)
#define FA_READ_UB(...)
#define FA_SELF_TEST(...)
#define FA_SOFTMAX(...)
#define FA_VECTOR_STREAM(...)
