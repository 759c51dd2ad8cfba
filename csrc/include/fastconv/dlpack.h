// The memory layout of DLPack (https://dmlc.github.io/dlpack), the standard by which array libraries hand
// memory to one another: the structures of versions 0.8 and 1.0, written down as the specification gives
// them.
#pragma once

#include <cstdint>

namespace fastconv::dlpack {

enum DeviceType : int32_t { kCpu = 1 };
enum TypeCode : uint8_t { kInt = 0, kUInt = 1, kFloat = 2, kBfloat = 4 };

struct Device {
    int32_t device_type;
    int32_t device_id;
};

struct DataType {
    uint8_t code;
    uint8_t bits;
    uint16_t lanes;
};

struct Tensor {
    void* data;
    Device device;
    int32_t ndim;
    DataType dtype;
    int64_t* shape;
    int64_t* strides;  // in elements; null for C order
    uint64_t byte_offset;
};

// Capsule "dltensor".
struct ManagedTensor {
    Tensor tensor;
    void* context;
    void (*deleter)(ManagedTensor*);
};

// Capsule "dltensor_versioned".
struct Version {
    uint32_t major;
    uint32_t minor;
};
inline constexpr uint64_t kReadOnly = 1;
struct ManagedTensorVersioned {
    Version version;
    void* context;
    void (*deleter)(ManagedTensorVersioned*);
    uint64_t flags;
    Tensor tensor;
};

}  // namespace fastconv::dlpack
