#include "bindings/bindings.h"
#include "ops/machine/machine.h"

namespace fastconv::bindings {
namespace {

double bind_fma_peak(py::object seconds, py::object threads) {
    const char* op = "fma_peak";
    const double s = to_double(op, "seconds", seconds);
    const int64_t t = to_int(op, "threads", threads);
    const Computing computing;
    return fma_peak(s, t);
}

double bind_stream_bandwidth(py::object bytes, py::object seconds, py::object threads) {
    const char* op = "stream_bandwidth";
    const int64_t b = to_int(op, "bytes", bytes);
    const double s = to_double(op, "seconds", seconds);
    const int64_t t = to_int(op, "threads", threads);
    const Computing computing;
    return stream_bandwidth(b, s, t);
}

double bind_memory_read_rate() {
    const Computing computing;
    return memory_read_rate();
}

double bind_line_round_trip() {
    const Computing computing;
    return line_round_trip();
}

}  // namespace

void bind_machine(py::module_& m) {
    m.def("fma_peak", &bind_fma_peak, py::arg("seconds"), py::arg("threads") = 1);
    m.def("stream_bandwidth", &bind_stream_bandwidth, py::arg("bytes"), py::arg("seconds"),
          py::arg("threads") = 1);
    m.def("memory_read_rate", &bind_memory_read_rate);
    m.def("line_round_trip", &bind_line_round_trip);
}

}  // namespace fastconv::bindings
