// SPDX-License-Identifier: MIT OR Apache-2.0
// Between the calls under test (calls_*.cpp) and the recorder (record.cpp).
#pragma once
extern "C" void note(const char* call);
void calls_vector();
void calls_cube();
void calls_pipe();
