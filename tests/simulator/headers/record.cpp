// SPDX-License-Identifier: MIT OR Apache-2.0
// A machine that writes down what it is asked, one line an instruction, and the layouts of the shared
// structures.
#include "record.h"

#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <string>

#include "kernel_operator.h"
#include "register.h"

namespace {

std::string lines;
uint64_t core_type = 1;
const char* const kSpaces[] = {"gm", "ub", "l1", "l0a", "l0b", "l0c", "bt", "fb"};
const char* const kElems[] = {"",     ".f16", ".bf16", ".f32", ".s8",  ".u8",
                              ".s16", ".u16", ".s32",  ".u32", ".s64", ".u64"};
constexpr uint64_t kGm = 0x100000000000;

[[gnu::format(printf, 1, 2)]] void append(const char* format, ...) {
    char text[256];
    va_list args;
    va_start(args, format);
    std::vsnprintf(text, sizeof text, format, args);
    va_end(args);
    lines += text;
}

void append_value(uint64_t value, bool may_be_address) {
    const uint64_t tag = value >> 48;
    if (may_be_address && tag >= 1 && tag <= 7) {
        append(" %s:%llx", kSpaces[tag], static_cast<unsigned long long>(value & 0xffffffffffff));
    } else if (may_be_address && tag == 0 && value >= kGm) {
        append(" gm:%llx", static_cast<unsigned long long>(value - kGm));
    } else if (value == ~uint64_t{0}) {
        append(" full");
    } else if (value >= 65536) {
        append(" 0x%llx", static_cast<unsigned long long>(value));
    } else {
        append(" %llu", static_cast<unsigned long long>(value));
    }
}

int32_t issue(const FasimInstr* instr) {
    const char* const name = fasim::kOpNames[instr->op];
    append("%s%s", name, kElems[instr->elem]);
    if (instr->elem_dst != FASIM_NONE) append(">%s", kElems[instr->elem_dst] + 1);
    const bool addresses = std::strncmp(name, "set_", 4) != 0 || std::strcmp(name, "set_cmpmask") == 0;
    for (uint32_t i = 0; i < instr->num_args; ++i) append_value(instr->args[i], addresses);
    append("\n");
    return 0;
}

// Memory holds the number of the load, so that a store shows what it was made from.
int32_t scalar_load(uint64_t address, uint32_t bytes, uint64_t* value) {
    static uint64_t count = 0;
    *value = 2 + 2 * (count++ % 3);
    append("load %u", bytes);
    append_value(address, true);
    append(" -> %llu\n", static_cast<unsigned long long>(*value));
    return 0;
}

int32_t scalar_store(uint64_t address, uint32_t bytes, uint64_t value) {
    append("store %u", bytes);
    append_value(address, true);
    append_value(value, false);
    append("\n");
    return 0;
}

int32_t special(uint32_t which, uint64_t* value) {
    switch (which) {
        case FASIM_CORE_TYPE:
            *value = core_type;
            break;
        case FASIM_ACC_VAL:
            *value = 0x42c80000;  // 100.0f
            break;
        case FASIM_RSVD_CNT:
            *value = 77;
            break;
        default:
            *value = 0;
    }
    return 0;
}

int32_t api_fault(uint32_t kind, const char* message) {
    append("fault %u: %s\n", kind, message);
    return 1;
}

const FasimHooks kHooks = {FASIM_ABI_VERSION, 0, &issue, &scalar_load, &scalar_store, &special, &api_fault};

struct Pair {
    uint32_t a;
    uint64_t b;
};

void takes_all(GM_ADDR p, uint32_t u, int16_t s, float f, Pair pair, uint64_t last) {
    append("takes_all");
    append_value(reinterpret_cast<uintptr_t>(p), true);
    append(" %u %d %g %u %llu %llu\n", u, s, static_cast<double>(f), pair.a,
           static_cast<unsigned long long>(pair.b), static_cast<unsigned long long>(last));
}

void stops() {
    AscendC::TQue<AscendC::TPosition::VECIN, 1> queue;
    queue.DeQue<half>();
    append("not reached\n");
}

void too_much() {
    AscendC::TPipe pipe;
    AscendC::TBuf<> buffer;
    pipe.InitBuffer(buffer, 196608);
}

void tail_in_use() {
    AscendC::TPipe pipe;
    AscendC::TBuf<> buffer;
    pipe.InitBuffer(buffer, 190000);
    AscendC::LocalTensor<float> f = buffer.Get<float>();
    AscendC::Select(f, buffer.Get<uint8_t>(), f, 2.0f, AscendC::SELMODE::VSEL_TENSOR_SCALAR_MODE, 64u);
}

AscendC::LocalTensor<float> ub_floats() {
    return AscendC::LocalTensor<float>(AscendC::TPosition::VECCALC, 0, 1024);
}

// What fits the calls' parameters but not the instructions' fields.
void too_many_gathered() {
    const AscendC::LocalTensor<float> f = ub_floats();
    AscendC::Gather(f, f, f.ReinterpretCast<uint32_t>(), 0, 256 * 64);
}

void too_many_reduced() {
    const AscendC::LocalTensor<float> f = ub_floats();
    AscendC::BlockReduceMax(f, f, 256, 64, 1, 1, 8);
}

void too_many_summed() {
    const AscendC::LocalTensor<float> f = ub_floats();
    AscendC::WholeReduceSum(f, f, 64, -1, 1, 1, 8);
}

void too_many_copied() {
    AscendC::GlobalTensor<float> gm;
    gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(kGm));
    AscendC::DataCopy(ub_floats(), gm, 65536 * 8);
}

const FasimKernel kKernels[] = {
    fasim::entry<&takes_all>("takes_all", fasim::kMixAic1Aiv2),
    fasim::entry<&stops>("stops", fasim::kAivOnly),
    fasim::entry<&too_much>("too_much", fasim::kAivOnly),
    fasim::entry<&tail_in_use>("tail_in_use", fasim::kAivOnly),
    fasim::entry<&too_many_gathered>("too_many_gathered", fasim::kAivOnly),
    fasim::entry<&too_many_reduced>("too_many_reduced", fasim::kAivOnly),
    fasim::entry<&too_many_summed>("too_many_summed", fasim::kAivOnly),
    fasim::entry<&too_many_copied>("too_many_copied", fasim::kAivOnly),
};

void launches() {
    note("launch");
    uint64_t slots[7] = {kGm + 16, 7, 0xfffe, 0x3fc00000, 8, 9, 10};
    for (const FasimKernel& kernel : kKernels) {
        append("%s: type %u, %u slots, ", kernel.name, kernel.kernel_type, kernel.num_args);
        const int32_t status = kernel.launch(slots, kernel.num_args);
        append("status %d\n", status);
    }
    append("wrong count: ");
    append("status %d\n", kKernels[0].launch(slots, 3));
}

}  // namespace

extern "C" void note(const char* call) { append("# %s\n", call); }

extern "C" __attribute__((visibility("default"))) const char* headers_record(void) {
    fasim::bind(&kHooks);
    lines.clear();
    try {
        core_type = 1;
        calls_vector();
        core_type = 0;
        calls_cube();
        core_type = 1;
        calls_pipe();
        launches();
    } catch (const fasim::Stop&) {
        append("stopped\n");
    }
    return lines.c_str();
}

#define FIELD(type, name) append("%s.%s %zu %zu\n", #type, #name, offsetof(type, name), sizeof(type::name));

extern "C" __attribute__((visibility("default"))) const char* headers_layout(void) {
    lines.clear();
    append("FasimInstr %zu\n", sizeof(FasimInstr));
    append("FasimHooks %zu\n", sizeof(FasimHooks));
    append("FasimKernel %zu\n", sizeof(FasimKernel));
    append("FasimImage %zu\n", sizeof(FasimImage));
#include "fields.def"
    return lines.c_str();
}
