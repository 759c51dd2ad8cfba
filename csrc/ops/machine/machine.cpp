#include "ops/machine/machine.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <system_error>
#include <thread>

#include "core/memory.h"
#include "cpu/threads.h"
#include "fastconv/error.h"
#include "ops/machine/kernels.h"

namespace fastconv {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

constexpr int64_t kMaxThreads = 1024;
// A burst's iterations: 16 accumulators on two ports make 10,000 of them 80,000 cycles, short enough to fit
// between two interruptions and long enough for the clock.
constexpr int64_t kBurst = 10000;
constexpr int kMinPasses = 3;
constexpr int64_t kBlock = 64;  // floats: whole cache lines and whole unrolled steps of every ISA

void check(const char* op, double seconds, int64_t threads) {
    if (!(seconds > 0 && seconds <= kMaxSeconds))
        throw ShapeError(
            message(op, ": seconds must be above 0 and at most ", kMaxSeconds, ", got ", seconds));
    if (threads < 1 || threads > kMaxThreads)
        throw ShapeError(message(op, ": threads must be 1 to ", kMaxThreads, ", got ", threads));
}

// Repeats pass() for `seconds`, at least kMinPasses times, and returns the shortest time of one.
template <class Pass>
double best_time(double seconds, const Pass& pass) {
    double best = 1e30;
    const Clock::time_point begin = Clock::now();
    for (int i = 0; i < kMinPasses || seconds_since(begin) < seconds; ++i) {
        const Clock::time_point start = Clock::now();
        pass();
        best = std::min(best, seconds_since(start));
    }
    return best;
}

struct Bursts {
    double (*burst)(int64_t, float*);
    float* sinks;  // one cache line a worker
    double* flops;
};

struct Stream {
    void (*scale)(const float*, float*, float, int64_t, bool);
    const float* x;
    float* y;
    bool streaming;
};

}  // namespace

double fma_peak(double seconds, int64_t threads) {
    check("fma_peak", seconds, threads);
    const int team = static_cast<int>(threads);
    // A line for each worker's sink and a line for its count.
    const Workspace lines(2 * kAlignment * static_cast<size_t>(team));
    float* sinks = lines.as<float>();
    double* flops = lines.as<double>() + kAlignment / sizeof(double) * static_cast<size_t>(team);
    Bursts bursts{FC_ISA_PICK(fma_burst), sinks, flops};
    double done = 0;
    const double best = best_time(seconds, [&] {
        std::memset(lines.as<char>(), 0, 2 * kAlignment * static_cast<size_t>(team));
        // Pieces of four bursts, as many as threads run, so that each has the same work.
        parallel_run(
            4 * team, 1,
            [](void* context, int64_t begin, int64_t end, int worker) {
                const Bursts& b = *static_cast<Bursts*>(context);
                const size_t line = static_cast<size_t>(worker) * kAlignment;
                for (int64_t i = begin; i < end; ++i)
                    b.flops[line / sizeof(double)] += b.burst(kBurst, b.sinks + line / sizeof(float));
            },
            &bursts, team);
        done = 0;
        for (int w = 0; w < team; ++w) done += flops[static_cast<size_t>(w) * kAlignment / sizeof(double)];
    });
    return done / best * 1e-9;
}

double stream_bandwidth(int64_t bytes, double seconds, int64_t threads) {
    check("stream_bandwidth", seconds, threads);
    if (bytes < kMinStreamBytes || bytes > kMaxStreamBytes)
        throw ShapeError(message("stream_bandwidth: bytes must be ", kMinStreamBytes, " to ", kMaxStreamBytes,
                                 ", got ", bytes));
    const int64_t blocks = bytes / static_cast<int64_t>(2 * sizeof(float)) / kBlock;
    const size_t half = static_cast<size_t>(blocks * kBlock) * sizeof(float);
    const Workspace x(half), y(half);
    const int team = static_cast<int>(threads);
    // Not zeros: Zen 5 writes lines of zeros past its caches a third faster than any others.
    for (size_t i = 0; i < half / sizeof(float); ++i) x.as<float>()[i] = static_cast<float>(i % 1021 + 1);
    std::memset(y.as<char>(), 0, half);
    Stream stream{FC_ISA_PICK(scale_stream), x.as<float>(), y.as<float>(), false};
    // Small buffers repeat within one timed pass: 1 MB at 100 GB/s is 10 microseconds.
    const int64_t repeats = std::max<int64_t>(1, (int64_t{1} << 20) / bytes);
    double best = 1e30;
    for (const bool streaming : {false, true}) {
        stream.streaming = streaming;
        const double time = best_time(seconds / 2, [&] {
            for (int64_t i = 0; i < repeats; ++i)
                parallel_run(
                    blocks, 1,
                    [](void* context, int64_t begin, int64_t end, int) {
                        const Stream& s = *static_cast<Stream*>(context);
                        s.scale(s.x + begin * kBlock, s.y + begin * kBlock, 1.0f, (end - begin) * kBlock,
                                s.streaming);
                    },
                    &stream, team);
        });
        best = std::min(best, time);
    }
    return 2.0 * static_cast<double>(half) * static_cast<double>(repeats) / best * 1e-9;
}

double memory_read_rate(int passes, double enough) {
#ifdef FASTCONV_HAS_X86
    constexpr int64_t kFloats = 1 << 20;
    const Workspace data(kFloats * sizeof(float)), sink(kAlignment);
    float* const x = data.as<float>();
    std::fill(x, x + kFloats, 1.0f);
    double best = 0;
    for (int pass = 0; pass < passes && best < enough; ++pass) {
        for (int64_t i = 0; i < kFloats; i += kAlignment / sizeof(float)) __builtin_ia32_clflush(x + i);
        __builtin_ia32_mfence();
        const Clock::time_point start = Clock::now();
        FC_ISA_PICK(read_stream)(x, kFloats, sink.as<float>());
        best = std::max(best, kFloats * sizeof(float) / seconds_since(start) * 1e-9);
    }
    return best;
#else
    return 0;
#endif
}

double line_round_trip() {
    constexpr int kTrips = 500;
    constexpr double kLongest = 0.02, kPass = 0.002;
    struct alignas(2 * kAlignment) Line {
        std::atomic<int> at{0};
    } line;
    std::atomic<bool> over{false};
    std::thread other;
    try {
        other = std::thread([&] {
            while (!over.load(std::memory_order_relaxed)) {
                const int now = line.at.load(std::memory_order_acquire);
                if (now % 2 == 1) line.at.store(now + 1, std::memory_order_release);
            }
        });
    } catch (const std::system_error&) {
        return 0;
    }
    double best = 1e30;
    for (const Clock::time_point begin = Clock::now(); seconds_since(begin) < kLongest;) {
        const Clock::time_point start = Clock::now();
        int trips = 0;
        for (; trips < kTrips && seconds_since(start) < kPass; ++trips) {
            const int sent = 2 * trips + 1;
            line.at.store(sent, std::memory_order_release);
            while (line.at.load(std::memory_order_acquire) == sent && seconds_since(start) < kPass) {
            }
        }
        if (trips == kTrips) best = std::min(best, seconds_since(start) / kTrips);
    }
    over.store(true, std::memory_order_relaxed);
    other.join();
    return best < 1 ? best * 1e6 : 0;
}

namespace {

bool told_or_measured() {
    const char* told = std::getenv("FASTCONV_FAST_MEMORY");
    // Sapphire Rapids' 12 to 17 GB/s a core, Zen 5's 35 to 58. Others read as well now and then: one pass
    // that they leave alone is enough.
    constexpr double kFast = 24;
    if (!told || !*told) return memory_read_rate(12, kFast) >= kFast;
    if (std::strcmp(told, "0") != 0 && std::strcmp(told, "1") != 0)
        throw DeviceError(message("FASTCONV_FAST_MEMORY must be 0 or 1, got '", told, "'"));
    return *told == '1';
}

}  // namespace

bool memory_is_fast() {
    static const bool fast = told_or_measured();
    return fast;
}

}  // namespace fastconv
